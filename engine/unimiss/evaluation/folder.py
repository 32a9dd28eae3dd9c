"""Scoring a folder of masks against a folder of references."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from unimiss.errors import InputError
from unimiss.evaluation.masks import evaluate_masks, label_array
from unimiss.evaluation.report import CaseScores, Report
from unimiss.io import Image, is_dicom, read, suffix_of

Listener = Callable[[float, str], None]
_MOST_CLASSES = 255


def evaluate_folder(predictions: Path, references: Path, listener: Listener | None = None) -> Report:
    """Score masks against the references of the same name, whatever their suffixes, or one file against one.

    Classes are those that ``labels.json`` beside the predictions names, else those of the references' data
    set (``dataset.json`` beside their folder), else all values found. A mask that is damaged, has no
    partner or lies on another grid is left out and said so in the report.

    Parameters
    ----------
    predictions, references : path
        Two folders, two files, or a file and the folder of its partner.
    listener : callable, optional
        Receives the finished share, 0 to 1, and the name of the case just scored.

    Raises
    ------
    InputError
        A path does not exist, label names cannot be read, or not one mask could be scored.
    """
    predictions, references = Path(predictions), Path(references)
    pairs, problems = _pairs(predictions, references)
    names = _names(_folder(predictions), _folder(references))
    cases = []
    for done, (prediction, reference) in enumerate(pairs, start=1):
        name = _stem(prediction)
        try:
            images = read(prediction), read(reference)
            cases.append(_case(name, (prediction, reference), images, names))
        except InputError as error:
            problems.append(str(error))
        if listener is not None:
            listener(done / len(pairs), name)
    if not cases:
        raise InputError(f"no mask of {predictions} could be scored; {problems[0]}")
    labels = names or {label: str(label) for label in sorted({v for case in cases for v in case.scores})}
    return Report(labels, tuple(cases), tuple(problems))


def _case(
    name: str, paths: tuple[Path, Path], images: tuple[Image, Image], names: dict[int, str]
) -> CaseScores:
    try:
        labels = names or _values(images)
        scores = evaluate_masks(*images, labels)
    except InputError as error:  # about images; the user knows files
        raise InputError(f"{paths[0]} and {paths[1]}: {error}") from error
    return CaseScores(name, *paths, images[1].geometry.units, scores)


def _values(masks: Sequence[Image]) -> dict[int, str]:
    values = sorted({int(value) for mask in masks for value in np.unique(label_array(mask))} - {0})
    if len(values) > _MOST_CLASSES:
        raise InputError(f"they hold {len(values)} different values, so they are images, not masks")
    return {value: str(value) for value in values}


def _pairs(predictions: Path, references: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    if predictions.is_file() and references.is_file():
        return [(predictions, references)], []
    problems: list[str] = []
    found, true = _masks(predictions, problems), _masks(references, problems)
    if predictions.is_dir():
        problems += [f"{true[name]} has no prediction in {predictions}" for name in true if name not in found]
    if references.is_dir():
        problems += [f"{found[name]} has no reference in {references}" for name in found if name not in true]
    return [(path, true[name]) for name, path in found.items() if name in true], problems


def _masks(path: Path, problems: list[str]) -> dict[str, Path]:
    """Find the masks of a path by name; of two files with one name neither is taken."""
    if path.is_file():
        return {_stem(path): path}
    if not path.is_dir():
        raise InputError(f"{path}: there is no such file or folder")
    files = [
        file
        for file in sorted(path.iterdir())
        if suffix_of(file) and not is_dicom(file) and not file.name.startswith(".")
    ]
    if not files:
        raise InputError(f"{path}: there is no mask in this folder")
    found: dict[str, list[Path]] = {}
    for file in files:
        if not _stem(file).endswith("_probabilities"):  # what a prediction leaves beside its masks
            found.setdefault(_stem(file), []).append(file)
    problems += [f"{same[0]} and {same[1]} have the same name" for same in found.values() if len(same) > 1]
    return {name: same[0] for name, same in found.items() if len(same) == 1}


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
    return dict(sorted(labels.items()))


def _folder(path: Path) -> Path:
    return path.resolve() if path.is_dir() else path.resolve().parent


def _stem(path: Path) -> str:
    return path.name[: len(path.name) - len(suffix_of(path))]
