"""Pre-train the weights that are shipped as `starter`, from the public images of UNIMISS_DATA.

    python scripts/starter.py --run runs/starter
    python scripts/starter.py --run runs/starter --export engine/unimiss/models/bundled/starter.safetensors

Sets are those whose licence allows weights to be shipped: no RICORD, no COVID collection. No patient of the
evaluation split is trained on, see `unimiss.data.cases.is_held_out`. The probe reads that split, and chooses
nothing: the last weights are exported, not the best.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

import pydicom

from unimiss.data.cases import find_images, is_held_out, patient_of, stem
from unimiss.devices import keep_freed_memory
from unimiss.io import is_dicom
from unimiss.models.checkpoint import Checkpoint
from unimiss.pretraining.config import PretrainConfig
from unimiss.pretraining.run import pretrain
from unimiss.runs import Run

RADIOGRAPHS = ("cxr_classification/No_findings", "cxr_classification/Pneumonia", "nih_cxr_512")
VOLUMES = (
    "msd_hippocampus/imagesTr",
    "deeplesion_ct",
    "totalsegmentator/example_ct.nii.gz",
    "totalsegmentator/example_ct_sm.nii.gz",
    "totalsegmentator/example_mr_sm.nii.gz",
    "dicom_mr_sag",
)
DEEPLESION = re.compile(r"^\d{6}_\d{2}_\d{2}_")
HOLDOUT = 5
SETTINGS = {
    "network": "tiny",
    "objective": "unimiss+",  # its reconstruction teaches the decoder, which UniMiSS leaves to fine-tuning
    "spacing": "native",
    "size_2d": (96, 96),
    "size_3d": (16, 64, 64),
    "batch_2d": 32,
    "batch_3d": 6,
    "momentum": 0.995,
    "epoch_2d": 1,
    "epoch_3d": 1,
    "epochs_each": 1,
    "checkpoint_every": 100,
    "keep_checkpoints": 3,
}


def allowed(folder: Path, sets: tuple[str, ...]) -> list[Path]:
    """Images of the sets that belong to the evaluation split by none of their keys."""
    found = find_images([folder / name for name in sets])
    return [path for path in found if not any(is_held_out(key, HOLDOUT) for key in _keys(path))]


def _keys(path: Path) -> set[str]:
    """Names that an image could be dealt to the split by: its patient, and where that is in doubt its own."""
    if is_dicom(path):
        return {str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"]).PatientID)}
    if DEEPLESION.match(path.name):  # its studies may be of one patient or of two
        return {patient_of(path), path.name[:9], stem(path)}
    return {patient_of(path)}


def export(run: Run, path: Path) -> None:
    """Write a run's backbone as float16, without anything that only training needs."""
    saved = Checkpoint.load(run.last)
    tensors = {name: t.half() for name, t in saved.tensors.items() if name.startswith("network.")}
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise SystemExit("a weight does not fit float16")
    path.parent.mkdir(parents=True, exist_ok=True)
    Checkpoint(saved.description, tensors).save(path)


def main() -> None:
    """Train, or write out what was trained."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--export", type=Path, help="write the weights there instead of training")
    options = parser.parse_args()
    if options.export:
        export(Run(options.run), options.export)
        return
    keep_freed_memory()
    folder = Path(os.environ["UNIMISS_DATA"])
    config = PretrainConfig.build(
        SETTINGS
        | {
            "images": allowed(folder, RADIOGRAPHS),
            "volumes": allowed(folder, VOLUMES),
            "holdout": HOLDOUT,
            "probe": folder / "cxr_classification",
            "steps": options.steps,
        }
    )
    pretrain(config, options.run, resume=options.resume)


if __name__ == "__main__":
    main()
