"""Scoring a table of predicted classes against a table of references."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unimiss.errors import InputError
from unimiss.evaluation.diagnoses import ClassificationReport, Diagnosis
from unimiss.evaluation.pairs import match
from unimiss.evaluation.problems import Problem
from unimiss.evaluation.statistics import RESAMPLES
from unimiss.evaluation.tables import (
    SEPARATOR,
    Prediction,
    Reference,
    file_name,
    images_folder,
    read_predictions,
    read_references,
)

_ROUNDING = 0.02  # of probabilities written with two digits


def evaluate_predictions(
    predictions: Path,
    references: Path,
    *,
    images: Path | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ClassificationReport:
    """Score predicted classes against the references of the same image; see `unimiss.evaluation.tables`.

    Classes exclude each other where the probabilities of most rows sum to 1, as a softmax's do, and no label
    proves otherwise; else each is decided by itself (multi-label). Of two classes the second is the positive
    one. A label proves it that joins several classes, and one of a prediction that is empty where others are
    not; an empty reference does not, for it may be of an image that nobody labelled.

    Parameters
    ----------
    predictions : path
        Table ``image,label,<class>…`` that ``unimiss predict`` wrote.
    references : path
        Table ``image,label[,patient]``, or a folder with a folder of images for each class.
    images : path, optional
        Folder that the images of the references are relative to, for pictures; else the table's.
    resamples, seed : int
        Of the intervals.

    Raises
    ------
    InputError
        A table cannot be read, or not one image could be scored.
    """
    folder = images_folder(images, references)
    classes, predicted = read_predictions(predictions)
    rows = read_references(references)
    exclusive = len(classes) > 1 and _sums_to_one(predicted) and not _overlap(classes, predicted, rows)
    found = match([row.image for row in predicted], [row.image for row in rows])
    cases, problems = [], found.problems
    for i, j in found.pairs:
        try:
            cases.append(_diagnosis(predicted[i], rows[j], classes, exclusive, folder))
        except InputError as error:
            name = file_name(rows[j].image)
            problems.append(Problem(name, "unusable", f"{name}: {error}"))
    if not cases:
        raise InputError(f"no image of {predictions} could be scored; {problems[0]}")
    return ClassificationReport(tuple(classes), exclusive, tuple(cases), tuple(problems), resamples, seed)


def _sums_to_one(predictions: Sequence[Prediction]) -> bool:
    sums = np.array([sum(row.probabilities) for row in predictions if row.probabilities])
    return bool(np.mean(np.abs(sums - 1) <= _ROUNDING) > 0.5) if sums.size else True


def _overlap(
    classes: Sequence[str], predictions: Sequence[Prediction], references: Sequence[Reference]
) -> bool:
    """Whether labels prove that classes do not exclude each other."""
    decided = [_names(row.label, classes) for row in predictions if row.probabilities]
    labels = [*decided, *(_names(row.label, classes) for row in references)]
    several = any(len(names) > 1 and set(names) <= set(classes) for names in labels)
    return several or ([] in decided and any(decided))


def _diagnosis(
    prediction: Prediction, reference: Reference, classes: Sequence[str], exclusive: bool, folder: Path
) -> Diagnosis:
    if not prediction.probabilities:
        raise InputError(f"its row needs {len(classes)} probabilities from 0 to 1, one for each class")
    total = sum(prediction.probabilities)
    if exclusive and abs(total - 1) > _ROUNDING:
        raise InputError(f"its probabilities sum to {total:.3g}, not 1")
    return Diagnosis(
        name=file_name(reference.image),
        probabilities=np.array(prediction.probabilities),
        decided=_places(prediction.label, classes, exclusive, "prediction"),
        true=_places(reference.label, classes, exclusive, "reference"),
        patient=reference.patient,
        image=folder / reference.image,
    )


def _places(label: str, classes: Sequence[str], exclusive: bool, whose: str) -> NDArray[np.bool_]:
    """Which classes a label names."""
    names = _names(label, classes)
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise InputError(f"its {whose} is {unknown[0]!r}, which is none of the classes {', '.join(classes)}")
    if exclusive and len(names) != 1:
        raise InputError(f"its {whose} names {len(names)} classes; they exclude each other, so name one")
    return np.isin(np.array(classes), names)


def _names(label: str, classes: Sequence[str]) -> list[str]:
    """Split a label into names. A class may itself have the separator in its name."""
    whole = [label] if label in classes else [name.strip() for name in label.split(SEPARATOR)]
    return [name for name in whole if name]
