"""Scoring a folder of masks against a folder of references."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from unimiss.errors import InputError
from unimiss.evaluation.masks import TOLERANCE, evaluate_masks, label_array
from unimiss.evaluation.pairs import MaskPair, pair_masks
from unimiss.evaluation.problems import Problem, without_folders
from unimiss.evaluation.report import CaseScores, Report
from unimiss.evaluation.statistics import RESAMPLES
from unimiss.evaluation.tables import trail
from unimiss.io import Image, read

Listener = Callable[[float, str], None]
_MOST_CLASSES = 255


def evaluate_folder(
    predictions: Path,
    references: Path,
    listener: Listener | None = None,
    *,
    images: Path | None = None,
    tolerance: float = TOLERANCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Report:
    """Score masks against the references of the same name, whatever their suffixes, or one file against one.

    Classes are those that ``labels.json`` beside the predictions names, else those of the references' data
    set (``dataset.json`` beside their folder), else all values found. A mask that is missing, damaged, has no
    partner or lies on another grid is left out and said so in the report.

    Parameters
    ----------
    predictions, references : path
        Two folders, two files, or a file and the folder of its partner. References may be a table
        ``image,label[,patient]`` (see `unimiss.evaluation.tables`) with the paths of the masks.
    listener : callable, optional
        Receives the finished share, 0 to 1, and the name of the case just scored.
    images : path, optional
        What the masks are drawn on in the report, and what a table's images are relative to; else
        ``imagesTs`` beside ``labelsTs`` is looked for, and a table's own folder is taken.
    tolerance : float
        Of the surface Dice, in mm; in pixels for pictures without size.
    resamples, seed : int
        Of the intervals.

    Raises
    ------
    InputError
        A path does not exist, label names cannot be read, or not one mask could be scored.
    """
    predictions, references = Path(predictions), Path(references)
    pairs, problems = pair_masks(predictions, references, images)
    names = _names(_folder(predictions), _folder(references))
    cases = []
    for done, pair in enumerate(pairs, start=1):
        name = trail(pair.prediction)[0]
        try:
            cases.append(_case(name, pair, names, tolerance))
        except InputError as error:
            reason = without_folders(str(error), pair.prediction, pair.reference)
            problems.append(Problem(pair.prediction.name, "unusable", reason))
        if listener is not None:
            listener(done / len(pairs), name)
    if not cases:
        raise InputError(f"no mask of {predictions} could be scored; {problems[0]}")
    labels = names or {label: str(label) for label in sorted({v for case in cases for v in case.scores})}
    return Report(labels, tuple(cases), tuple(problems), tolerance, resamples, seed)


def _case(name: str, pair: MaskPair, names: dict[int, str], tolerance: float) -> CaseScores:
    masks = read(pair.prediction), read(pair.reference)
    try:
        scores = evaluate_masks(*masks, names or _values(masks), tolerance)
    except InputError as error:  # about images; the user knows files
        raise InputError(f"{pair.prediction} and {pair.reference}: {error}") from error
    units = masks[1].geometry.units
    return CaseScores(name, pair.prediction, pair.reference, units, scores, pair.patient, pair.image)


def _values(masks: Sequence[Image]) -> dict[int, str]:
    values = sorted({int(value) for mask in masks for value in np.unique(label_array(mask))} - {0})
    if len(values) > _MOST_CLASSES:
        raise InputError(f"they hold {len(values)} different values, so they are images, not masks")
    return {value: str(value) for value in values}


def _names(predictions: Path, references: Path) -> dict[int, str]:
    """Read the names of label values, without background; nothing where no file says them."""
    own, dataset = predictions / "labels.json", references.parent / "dataset.json"
    path = own if own.is_file() else dataset
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if path == dataset:
            entries = entries.get("labels", {})
        if not all(key.isdigit() for key in entries):  # nnU-Net's order: name to value
            entries = {value: name for name, value in entries.items()}
        labels = {int(value): str(name) for value, name in entries.items() if int(value) > 0}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged: it must map label values to names") from error
    if len(set(labels.values())) < len(labels):
        raise InputError(f"{path} gives two label values the same name; give each its own")
    return dict(sorted(labels.items()))


def _folder(path: Path) -> Path:
    return path.resolve() if path.is_dir() else path.resolve().parent
