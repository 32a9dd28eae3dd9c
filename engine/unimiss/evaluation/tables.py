"""The tables of an evaluation: references, and predictions of a classification.

Both are CSV with a header, comma-separated, UTF-8.

*References:* ``image,label[,patient]``; further columns are ignored, so the table of a data set will do.
`image` is a file name or a path. `label` is the name of a class, or several joined by ``|``; for
segmentation it is the path of the true mask, from the table's folder. Images of one `patient` are resampled
together; where the cell is empty the image stands for itself.

*Predictions,* as ``unimiss predict`` writes them: ``image,label`` and then one column for each class, named
after it, with its probability, 0 to 1. `label` is the class decided for; of a multi-label model it is all
of them, joined by ``|``, or nothing.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from unimiss.errors import InputError
from unimiss.io import suffix_of

SEPARATOR = "|"


@dataclass(frozen=True)
class Reference:
    """A row of references: image as written, its labels or the path of its mask, its patient if known."""

    image: str
    label: str
    patient: str = ""


@dataclass(frozen=True)
class Prediction:
    """A row of predictions: image as written, the labels decided for, a probability for each class.

    Of a damaged row there are no probabilities.
    """

    image: str
    label: str
    probabilities: tuple[float, ...]


def read_references(path: Path) -> list[Reference]:
    """Read a table of references, or a folder that has one folder of images for each class.

    Raises
    ------
    InputError
        There is none, or it lacks a column.
    """
    if path.is_dir():
        return _class_folders(path)
    rows = _rows(path)
    header = [name.strip().lower() for name in next(rows, [])]
    for needed in ("image", "label"):
        if needed not in header:
            raise InputError(f"{path}: there is no column {needed!r}; begin it with image,label[,patient]")
    columns = [
        header.index(name) if name in header else len(header) for name in ("image", "label", "patient")
    ]
    cells = ([*row, *[""] * (len(header) + 1 - len(row))] for row in rows)
    references = [Reference(*(row[column].strip() for column in columns)) for row in cells]
    if not references:
        raise InputError(f"{path}: it holds no row; add a line for each image")
    return references


def read_predictions(path: Path) -> tuple[list[str], list[Prediction]]:
    """Read the names of the classes, and the rows.

    Raises
    ------
    InputError
        It is no table of predictions.
    """
    rows = _rows(path)
    header = [name.strip() for name in next(rows, [])]
    classes = header[2:]
    if [name.lower() for name in header[:2]] != ["image", "label"] or not classes:
        raise InputError(
            f"{path}: it is no table of predictions; it must begin with image,label and its classes"
        )
    if len(set(classes)) < len(classes) or not all(classes):
        raise InputError(f"{path}: two classes have the same name, or one has none; name each column once")
    return classes, [
        Prediction(row[0].strip(), "".join(row[1:2]).strip(), _probabilities(row[2:], len(classes)))
        for row in rows
    ]


def _probabilities(cells: list[str], count: int) -> tuple[float, ...]:
    try:
        values = tuple(map(float, cells))
    except ValueError:
        return ()
    return values if len(values) == count and all(0 <= value <= 1 for value in values) else ()


def images_folder(images: Path | None, table: Path) -> Path:
    """Return the folder that the images of a table of references are relative to: `images`, else the table's.

    Raises
    ------
    InputError
        `images` does not exist.
    """
    if images is not None and not images.is_dir():
        raise InputError(f"{images}: there is no such folder")
    return images or table.parent


def file_name(image: str) -> str:
    """Last part of a path from a table, which may have been written on another system."""
    return image.replace("\\", "/").rstrip("/").rpartition("/")[2].strip()


def trail(image: str | Path) -> tuple[str, ...]:
    """Parts of a path from its end, the first without image suffix: what tells two images apart."""
    parts = PurePath(str(image).replace("\\", "/")).parts[::-1]
    if not parts:
        return ("",)
    return (parts[0][: len(parts[0]) - len(suffix_of(parts[0]))], *parts[1:])


def _class_folders(path: Path) -> list[Reference]:
    references = [
        Reference(str(file), folder.name)
        for folder in sorted(path.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
        for file in sorted(folder.iterdir())
        if suffix_of(file) and not file.name.startswith(".")
    ]
    if not references:
        raise InputError(f"{path}: it holds no folder of images for each class; or name a table image,label")
    return references


def _rows(path: Path) -> Iterator[list[str]]:
    """Lines that hold something; a byte order mark, as spreadsheets write it, is passed over."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            yield from (row for row in csv.reader(file, strict=True) if any(cell.strip() for cell in row))
    except OSError as error:
        raise InputError(f"{path}: it cannot be read: {os.strerror(error.errno or 0)}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: it is no CSV in UTF-8 ({error}); export it again") from error
