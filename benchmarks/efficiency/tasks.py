"""The four tasks: their data, settings that differ from the engine's, and the score on unseen patients."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from unimiss import Geometry, Image, write
from unimiss.data.cases import Case, read_image
from unimiss.data.datasets import Dataset, Kind, open_dataset, read_mask
from unimiss.errors import InputError
from unimiss.evaluation import CaseScores, Report, evaluate_masks
from unimiss.inference import Predictor
from unimiss.runs import Run, atomic

SPLITS = {"train": "train", "val": "validation", "test": "test"}  # MedMNIST's names, and ours
HYPERPLASIA = ("normal", "hyperplasia")


@dataclass(frozen=True)
class Task:
    """One of the four.

    Attributes
    ----------
    kind : "segmentation" or "classification"
        Scored by the mean Dice over classes, or by the area under the ROC curve.
    data : str
        Name below UNIMISS_DATA.
    settings : mapping
        Of the fine-tuning. The grid is named wherever "auto" would fit it to the training cases: it must not
        differ between fractions.
    """

    kind: Kind
    data: str
    settings: Mapping[str, Any] = field(default_factory=dict)


TASKS = {
    "hippocampus": Task(
        "segmentation", "msd_hippocampus", {"spacing": (1.0, 0.52, 0.52), "patch": (32, 96, 64)}
    ),
    "lungs": Task("segmentation", "cxr_lungs", {"labels": {"1": "right lung", "2": "left lung"}}),
    "xray": Task("classification", "cxr_classification", {"ignore": ["Covid-19"]}),
    "adrenal": Task("classification", "adrenalmnist3d.npz"),
}
VALIDATION = {  # short, for its time is the training's
    "segmentation": {"validations": 3, "validation_cases": 8},
    "classification": {"validations": 3, "validation_cases": 200},
}


def data_of(name: str, output: Path) -> Path:
    """Where a task's data set lies: in UNIMISS_DATA, or written to the output folder from there."""
    if "UNIMISS_DATA" not in os.environ:
        raise InputError("UNIMISS_DATA is not set; name the folder that holds the public data sets")
    data = Path(os.environ["UNIMISS_DATA"]) / TASKS[name].data
    if not data.exists():
        raise InputError(f"{data} is missing; leave out the task {name} or get its data set")
    if data.suffix != ".npz":
        return data
    folder = output / name
    if not (folder / "cases.csv").exists():
        write_adrenals(data, folder)
    return folder


def write_adrenals(archive: Path, folder: Path) -> None:
    """Write MedMNIST's volumes (28, 28, 28) as NIfTI, and the table of their classes and splits."""
    rows = ["image,label,patient,split"]
    with np.load(archive) as arrays:
        for theirs, ours in SPLITS.items():
            labels = arrays[f"{theirs}_labels"][:, 0]
            for number, volume in enumerate(arrays[f"{theirs}_images"]):
                name = f"{ours}{number:04}"
                image = Image(volume[None], Geometry.from_spacing(volume.shape, (1.0, 1.0, 1.0)))
                write(image, folder / "images" / f"{name}.nii.gz")
                rows.append(f"images/{name}.nii.gz,{HYPERPLASIA[labels[number]]},{name},{ours}")
    atomic.write_text(folder / "cases.csv", "\n".join(rows) + "\n")  # last: it says that all are there


def training_patients(run: Run, dataset: Path) -> int:
    """How many patients a run trained on."""
    return len({case.patient for case in _split(run, dataset, "training")})


def test_score(run: Run, dataset: Path, predictor: Predictor) -> tuple[float, int]:
    """Score of a run on its unseen patients, whole images on their own grids, and how many images."""
    cases = _split(run, dataset, "test")
    if predictor.task == "segmentation":
        return dice(predictor, cases, _read(dataset)), len(cases)
    return auc(predictor, cases), len(cases)


def dice(predictor: Predictor, cases: list[Case], dataset: Dataset) -> float:
    """Mean over classes of the mean Dice over cases, as `unimiss evaluate` gives it.

    Raises
    ------
    InputError
        Classes overlap and some voxels are called "ignore", for which a predicted mask has no channel.
    """
    if dataset.overlapping and dataset.unknown:
        raise InputError(
            f"{dataset.name}: classes that overlap cannot be scored here beside 'ignore'; use evaluate"
        )
    labels = {value: name for value, name in predictor.labels.items() if value}
    scored = []
    for case in cases:
        reference = read_mask(case, dataset)
        mask = predictor.predict(read_image(case.images))
        scores = evaluate_masks(mask, reference, labels, unknown=dataset.unknown[:1])
        units = reference.geometry.units
        scored.append(CaseScores(case.name, case.image, case.masks[0], units, scores, case.patient))
    return float(Report(labels, tuple(scored)).mean().dice)


def auc(predictor: Predictor, cases: list[Case]) -> float:
    """Area under the ROC curve of the second class, of cases of the two classes that the model knows."""
    positive = list(predictor.labels.values())[1]
    found = [predictor.classify(read_image(case.images))[positive] for case in cases]
    return float(roc_auc_score([positive in case.classes for case in cases], found))


def _split(run: Run, dataset: Path, name: str) -> list[Case]:
    by_image = {str(case.image): case for case in _read(dataset).cases}
    return [by_image[image] for image in run.manifest()["splits"][name]]


@cache
def _read(dataset: Path) -> Dataset:
    def silent(_: object) -> None:
        """What there is to say, the fine-tuning said."""

    return open_dataset(dataset.resolve(), labels={}, ignore=[], accept=[], report=silent, warn=silent)
