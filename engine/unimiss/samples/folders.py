"""Generated cases as files, laid out as public data sets are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from unimiss import io
from unimiss.runs import atomic
from unimiss.samples.anatomy import ORGANS
from unimiss.samples.film import radiograph
from unimiss.samples.patient import generator
from unimiss.samples.scan import torso

ORIENTATIONS = ("SPL", "IPL", "SAR", "LPS", "PSR", "AIL")
_LARGEST_TILT = 12.0  # degrees


def write_dataset(
    folder: Path | str,
    seeds: Iterable[int],
    *,
    spacing: tuple[float, float, float] = (5.0, 3.0, 3.0),
    orientations: tuple[str, ...] = ORIENTATIONS,
) -> Path:
    """Write labelled scans as a data set of the Medical Segmentation Decathlon's layout.

    Every second person is scanned obliquely, and the axis order of the files changes from seed to seed.

    Parameters
    ----------
    folder : path
        Receives ``imagesTr/torso_000.nii.gz``, ``labelsTr/torso_000.nii.gz`` and so on, named by seed, and
        ``dataset.json``.
    seeds : iterable of int
        Who is scanned.
    spacing : tuple of float
        Millimetres between slices, rows and columns.
    orientations : tuple of str
        Axis orders to take turns with; see `torso`.

    Returns
    -------
    Path
        The ``dataset.json``.
    """
    folder = Path(folder)
    training = []
    for seed in seeds:
        tilt = generator(seed, "tilt").uniform(-_LARGEST_TILT, _LARGEST_TILT) if seed % 2 else 0.0
        orientation = orientations[seed % len(orientations)]
        scan = torso(seed, spacing=spacing, orientation=orientation, oblique_degrees=tilt)
        name = f"torso_{seed:03d}.nii.gz"
        io.write(scan.image, folder / "imagesTr" / name)
        io.write(scan.labels, folder / "labelsTr" / name)
        training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    description = {
        "name": "Generated torsos",
        "description": "CT-like volumes of chest and upper abdomen, made by a program; no patient is in them",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background", **{str(value): name for value, name in ORGANS.items()}},
        "file_ending": ".nii.gz",
        "numTraining": len(training),
        "numTest": 0,
        "training": training,
        "test": [],
    }
    atomic.write_json(folder / "dataset.json", description)
    return folder / "dataset.json"


def write_radiographs(
    folder: Path | str, seeds: Iterable[int], *, shape: tuple[int, int] = (256, 256)
) -> list[Path]:
    """Write one PNG radiograph, ``radiograph_000.png`` and so on, for each seed; return their paths."""
    paths = []
    for seed in seeds:
        paths.append(Path(folder) / f"radiograph_{seed:03d}.png")
        io.write(radiograph(seed, shape=shape), paths[-1])
    return paths
