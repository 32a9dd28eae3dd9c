"""What the readers of all layouts share: files, folders and words of a data set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unimiss.data.cases import Case, Split, stem
from unimiss.data.datasets.dataset import Dataset, Kind
from unimiss.data.datasets.finder import Finder
from unimiss.data.datasets.labels import class_labels, used_classes
from unimiss.data.datasets.problems import Problem
from unimiss.io import suffix_of

_SETS = {"set", "sets", "data", "split"}  # words that say nothing more of a split
_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "tr"), "training"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "ts"), "test"),
}


def split_of(text: str) -> Split | None:
    """Which split a name speaks of (``train.txt``, ``ISIC2018_Task3_Test_Input``), if any."""
    return next((_SPLITS[word] for word in _words(text) if word in _SPLITS), None)


def is_split(text: str) -> bool:
    """Whether a name is that of a split and of nothing else: ``Test``, ``val_set``, not ``test positive``."""
    return split_of(text) is not None and set(_words(text)) <= {*_SPLITS, *_SETS}


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\W\d_]+", text.lower()) if word]


def visible(folder: Path) -> list[Path]:
    """Files and folders in a folder, sorted, without hidden ones."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


@dataclass(frozen=True)
class Row:
    """What a table or a list says of a case; empty texts stand for what it does not say.

    Attributes
    ----------
    images : str
        Path, or paths joined by ``|``.
    label : str
        Path of a mask or name of a class, or several joined by ``|``.
    patient, split, fold : str
        As they are written; a file's name may say the split of all its rows.
    folder : Path
        What paths are relative to.
    place : str
        File and line.
    wrong : str
        Why it cannot be understood.
    """

    images: str
    label: str
    folder: Path
    place: str
    patient: str = ""
    split: str = ""
    fold: str = ""
    wrong: str = ""


def parts_of(text: str) -> list[str]:
    """Return the texts that are joined by ``|``."""
    return [part.strip() for part in text.split("|") if part.strip()]


def dataset_of_rows(name: str, rows: Sequence[Row], root: Path) -> Dataset:
    """Turn the rows of tables and lists into cases; rows that make none are problems of the data set.

    Their files are looked for in `root`, see `Finder`.
    """
    labels = [parts_of(row.label) for row in rows]
    is_masks = any(bool(suffix_of(part)) for parts in labels for part in parts)
    several = not is_masks and any(len(parts) > 1 for parts in labels)
    masks_of = [parts if is_masks else [] for parts in labels]
    named = [[*parts_of(row.images), *masks] for row, masks in zip(rows, masks_of, strict=True)]
    finder = Finder(
        root, ((row.folder, text) for row, texts in zip(rows, named, strict=True) for text in texts)
    )
    cases, problems = [], _strangers(rows)
    for row, parts, texts in zip(rows, labels, named, strict=True):
        wrong = _wrong(row, parts, is_masks=is_masks, several=several)
        if wrong is not None:
            problems.append(wrong)
            continue
        found = {text: finder.find(row.folder, text) for text in texts}
        doubts = [_doubt(row, text, files) for text, files in found.items() if len(files) > 1]
        if doubts:
            problems += doubts
            continue
        images = tuple(found[part][0] for part in parts_of(row.images))
        masks = tuple(found[part][0] for part in parts) if is_masks else ()
        classes = () if is_masks else tuple(dict.fromkeys(parts))
        fold = int(row.fold) if row.fold else None
        cases.append(Case(images, masks, classes, row.patient, split_of(row.split), fold))
    cases = list(dict.fromkeys(cases))  # a row that is there twice says nothing new
    if is_masks:
        return masked(name, cases, problems)
    return classified(name, cases, problems, overlapping=several)


def _strangers(rows: Sequence[Row]) -> list[Problem]:
    """Say where patients are named, but not all: one without a name may be another's."""
    without = [row for row in rows if not row.patient]
    if not without or len(without) == len(rows):
        return []
    text = (
        f"{without[0].place} names no patient, where others do; the {len(without)} such lines of {len(rows)} "
        "are told apart by the names of their files, and may be in two splits with a patient who is named"
    )
    return [Problem("patients", text)]


def _doubt(row: Row, text: str, files: Sequence[Path]) -> Problem:
    more = f", or {len(files) - 2} more" if len(files) > 2 else ""
    return Problem(
        "entries", f"{row.place}: {text} may be {files[0]} or {files[1]}{more}; write it with its folders"
    )


def _wrong(row: Row, parts: list[str], *, is_masks: bool, several: bool) -> Problem | None:
    if row.wrong:
        return Problem("entries", f"{row.place}: {row.wrong}")
    if not row.images:
        return Problem("entries", f"{row.place} names no image")
    if row.fold and not row.fold.isdecimal():  # "²" is a digit, and no number
        return Problem("entries", f"{row.place}: a fold is a number from 0, found {row.fold!r}")
    if row.split and split_of(row.split) is None:
        text = f"{row.place}: a split is training, validation or test, found {row.split!r}"
        return Problem("entries", text)
    if not parts and not several:
        return Problem("unlabelled", f"{row.place}: {row.images} has no label")
    if is_masks and not all(suffix_of(part) for part in parts):
        return Problem("entries", f"{row.place} has a class ({row.label}) where other rows have masks")
    return None


def classified(
    name: str, cases: Sequence[Case], problems: Sequence[Problem], *, overlapping: bool
) -> Dataset:
    """Make a data set of cases with classes."""
    kind: Kind = "classification"
    labels = class_labels(used_classes(cases))
    return Dataset(name, kind, tuple(cases), labels, overlapping, problems=tuple(problems))


def masked(
    name: str, cases: Sequence[Case], problems: Sequence[Problem], structures: Sequence[str] = ()
) -> Dataset:
    """Make a data set of cases with masks: of one label image, or of one file for each structure."""
    kind: Kind = "segmentation"
    count = max((len(case.masks) for case in cases), default=1)
    names = list(structures) or (_structures(cases, count) if count > 1 else [])
    labels = {0: "background", **dict(enumerate(names, start=1))} if names else {}
    values = {1: tuple(range(1, 256))} if len(names) == 1 else {}  # the only structure, whatever its value
    return Dataset(name, kind, tuple(cases), labels, len(names) > 1, values=values, problems=tuple(problems))


def _structures(cases: Sequence[Case], count: int) -> list[str]:
    """Name the structures of mask files by their folders or the ends of their names, else by numbers."""
    complete = [case for case in cases if len(case.masks) == count]
    names = []
    for place in range(count):
        folders = {case.masks[place].parent.name for case in complete}
        ends = {stem(case.masks[place]).removeprefix(case.name).strip("_-. ") for case in complete}
        found = next(
            (group for group in (folders, ends) if len(group) == 1 and group != {""}), {str(place + 1)}
        )
        names.append(found.pop())
    return names if len(set(names)) == count else [str(place + 1) for place in range(count)]
