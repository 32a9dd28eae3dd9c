"""What a prediction on a CPU costs: network, labels on the image's grid, writing; and its peak memory.

``python benchmarks/prediction.py [--shape 300 512 512] [--windows N] [--json FILE]``. MiT tiny with eight
classes at 1.5 mm, and a generated volume of 1.25 x 0.8 x 0.8 mm. The first N windows go through the network
and are timed; for the others a stand-in, which is not, gives each class's scores by the voxels' values, so
that the mask has organs and noise like a real one's. All else is done in full. The way back to the image's
grid is also done as one would do it plainly, all classes at once, in the same run; both masks are compared.
Seconds are those of the processor, for other work on the machine to count as little as may be. Every part
runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from unimiss.data.preprocessing import Intensity, Preprocessing
from unimiss.geometry import Geometry
from unimiss.inference import Predictor
from unimiss.inference.resizing import resized
from unimiss.inference.windows import starts_of, window_slabs
from unimiss.io import Image, read, write
from unimiss.models.checkpoint import Checkpoint, Description

CLASSES = 8
SPACING = (1.25, 0.8, 0.8)  # mm, of a CT of chest and abdomen
PATCH = (32, 96, 96)  # what a fine-tuning on a CPU chooses
GIB = 2**20  # of what getrusage counts, KiB
PARTS = ("network", "ours", "plain")


class Timed(nn.Module):
    """The network for the first windows, a stand-in for the others."""

    def __init__(self, network: nn.Module, windows: int) -> None:
        super().__init__()
        self.network, self.windows = network, windows
        self.called, self.seconds = 0, 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Score windows (B, 1, *patch) by their values."""
        levels = torch.arange(CLASSES, dtype=x.dtype).view(1, -1, 1, 1, 1)
        scores = -(x[:, :1] * (CLASSES - 1) - levels).abs()
        if self.called < self.windows:
            began = time.process_time()
            found: Tensor = self.network(x)
            self.seconds += time.process_time() - began
            assert found.shape == scores.shape
            self.called += len(x)
        return scores


def generate(folder: Path, shape: tuple[int, ...]) -> None:
    """Write a model that was never trained, and a volume of smooth organs with noise."""
    torch.manual_seed(0)
    intensity = Intensity(scheme="hounsfield", low=0, high=1000, std=1000)
    description = Description(
        kind="segmentation",
        network="tiny",
        native={3: PATCH},
        labels={n: f"class {n}" for n in range(CLASSES)},
        preprocessing=Preprocessing(spacing=(1.5, 1.5, 1.5), intensity=intensity),
        objective="segmentation",
        step=1,
    )
    weights = {f"network.{name}": one for name, one in description.make_network().state_dict().items()}
    Checkpoint(description, weights).save(folder / "model")
    rng = np.random.default_rng(0)
    coarse = gaussian_filter(rng.standard_normal([-(-n // 8) for n in shape]).astype(np.float32), 3)
    coarse = 500 + 300 * coarse / coarse.std()
    values = F.interpolate(torch.from_numpy(coarse)[None, None], size=shape, mode="trilinear")[0, 0].numpy()
    values += 15 * rng.standard_normal(shape, dtype=np.float32)
    write(Image(values.astype(np.int16)[None], Geometry.from_spacing(shape, SPACING)), folder / "scan.nii")


def measure(part: str, folder: Path, windows: int) -> dict[str, float]:
    """Do one part of the work; figures of it, peak memory among them."""
    image = read(folder / "scan.nii")
    predictor = Predictor(folder / "model")
    (member,) = predictor._members
    timed = Timed(member._network, windows if part == "network" else 0)
    member._network = timed
    found: dict[str, float] = {}
    if part == "network":
        began = time.process_time()
        mask = predictor.predict(image)
        rest = time.process_time() - began - timed.seconds
        count = len(starts_of(predictor.preprocessing.grid(image), PATCH))
        found = {
            "windows": count,
            "network_seconds": timed.seconds / timed.called * count,
            "rest_seconds": rest,
        }
        began = time.process_time()
        write(mask, folder / "mask.nii.gz")
        found["write_seconds"] = time.process_time() - began
        found["write_mib"] = (folder / "mask.nii.gz").stat().st_size / 2**20
    else:
        prepared = torch.from_numpy(member.preprocessing.prepare(image)).to(member.device)
        slabs = list(window_slabs(member._network, prepared, PATCH, member.precision))
        began = time.process_time()
        if part == "ours":
            rows = resized(slabs, prepared.shape[1], image.geometry.shape)
            labels = torch.cat([predictor._decided(scores)[0] for scores in rows])
        else:
            whole = torch.cat(slabs, dim=1)[None]
            labels = F.interpolate(whole, size=image.geometry.shape, mode="trilinear")[0].argmax(dim=0)
        found = {"labels_seconds": time.process_time() - began}
        np.save(folder / f"{part}.npy", labels.to(torch.uint8).numpy())
    found["gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / GIB
    return found


def main() -> None:
    """Measure each part in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(300, 512, 512), help="slices, rows, columns")
    parser.add_argument("--windows", type=int, default=6, help="how many go through the network")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps(measure(given.part, given.folder, given.windows)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, tuple(given.shape))
        found = {}
        for part in PARTS:
            command = [
                sys.executable,
                __file__,
                "--part",
                part,
                "--folder",
                name,
                "--windows",
                str(given.windows),
            ]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            found[part] = json.loads(done.stdout)
        differing = float(np.mean(np.load(folder / "ours.npy") != np.load(folder / "plain.npy")))
    network, ours, plain = (found[part] for part in PARTS)
    export = ours["labels_seconds"] + network["write_seconds"]
    prediction = network["network_seconds"] + network["rest_seconds"] - ours["labels_seconds"]
    found["result"] = {
        "export_over_prediction": export / prediction,
        "labels_over_plain": ours["labels_seconds"] / plain["labels_seconds"],
        "peak_gib": network["gib"],
        "differing_voxels": differing,
    }
    print(f"{' x '.join(map(str, given.shape))} voxels, {CLASSES} classes; seconds of the processor:")
    for label, value in (
        (
            f"network, {network['windows']:.0f} windows, by the first {given.windows}",
            network["network_seconds"],
        ),
        ("preparing and blending", network["rest_seconds"] - ours["labels_seconds"]),
        ("labels on the image's grid", ours["labels_seconds"]),
        ("the same, all classes at once", plain["labels_seconds"]),
        (f"writing {network['write_mib']:.1f} MiB", network["write_seconds"]),
    ):
        print(f"{label:<44}{value:9.1f}")
    print(f"{'export over prediction':<44}{export / prediction:9.3f}")
    print(f"{'peak memory of the prediction, GiB':<44}{network['gib']:9.2f}")
    print(f"{'voxels that differ from the plain way':<44}{differing:9.1e}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
