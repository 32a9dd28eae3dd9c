"""Tables (``image,label[,patient,split,fold]``) and text lists (``path label``) of cases."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from unimiss.data.cases import Split
from unimiss.data.datasets.dataset import Dataset
from unimiss.data.datasets.layout import Row, dataset_of_rows, split_of, visible
from unimiss.errors import InputError
from unimiss.io import suffix_of

TABLES = (".csv", ".tsv")
LISTS = (".txt", ".lst")
_NAMES = {  # of a column -> other names of it, among them those of NIH ChestX-ray and HAM10000
    "image": ("image", "images", "image index", "image_id", "filename", "file", "path"),
    "label": ("label", "labels", "mask", "class", "diagnosis", "finding labels", "dx"),
    "patient": ("patient", "patient_id", "patient id", "subject", "lesion_id"),
    "split": ("split", "subset"),
    "fold": ("fold",),
}
_INDICATORS = {"", "0", "1", "0.0", "1.0"}
_NO_CLASSES = {  # what columns of 0 and 1 may say of an image, and is not what one sees in it
    *("", "sex", "gender", "male", "female", "age", "race", "ethnicity", "height", "weight", "bmi", "smoker"),
    *("site", "center", "centre", "hospital", "scanner", "view", "score_weight", "validation_weight"),
}


def read_tables(folder: Path) -> Dataset | None:
    """Read the tables, else the lists, in a folder or one below it; None where there are none.

    Several are told apart by the splits that they are named after (``train.csv``, ``test.csv``). A table
    that has columns of images and patients, and no labels, says whose the images of the others are.

    Raises
    ------
    InputError
        There are several, and not each is named after a split.
    """
    inside = visible(folder)
    files = [*inside, *(file for path in inside if path.is_dir() for file in visible(path))]
    for suffixes, is_one in ((TABLES, _is_table), (LISTS, _is_list)):
        found = [
            file for file in files if file.suffix.lower() in suffixes and file.is_file() and is_one(file)
        ]
        if len(found) > 1 and not all(split_of(file.stem) for file in found):
            names = ", ".join(file.name for file in found)
            raise InputError(
                f"{folder} holds the tables {names}; name the one to be used instead of the folder"
            )
        if found:
            return read_table(found, folder, _patients(set(files) - set(found)))
    return None


def read_table(files: Sequence[Path], root: Path, patients: Mapping[str, str] | None = None) -> Dataset:
    """Read tables and lists whose paths are relative to them, or names of files anywhere below `root`.

    A table has a column ``image`` and a column ``label``, or a column of 0 and 1 for each class. A label is
    the path of a mask or the name of a class; ``|`` joins several, and the images of a case's modalities.
    `patients` says whose an image is, by its name without suffix, where its row does not.

    Raises
    ------
    InputError
        A file is no text, or a table lacks a column.
    """
    rows: list[Row] = []
    for file in files:
        split = split_of(file.stem) if len(files) > 1 else None
        rows += _listed(file, split) if file.suffix.lower() in LISTS else _tabled(file, split)
    if not rows:
        raise InputError(f"{files[0]} names no case")
    if patients:
        rows = [replace(row, patient=row.patient or patients.get(_name(row.images), "")) for row in rows]
    name = root.resolve().name if root.is_dir() else root.stem
    return dataset_of_rows(name, rows, root if root.is_dir() else root.parent)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{file} is not a text file") from error


def _is_table(file: Path) -> bool:
    try:
        return _Table(file).is_complete
    except InputError:
        return False


def why_no_table(folder: Path) -> str:
    """Say what the first table in a folder lacks, where it is none of labelled images."""
    for file in visible(folder):
        if file.suffix.lower() in TABLES and file.is_file():
            try:
                _tabled(file, None)
            except InputError as error:
                return str(error)
    return ""


def _is_list(file: Path) -> bool:
    try:
        first = next((line for line in _lines(file) if line.strip() and not line.startswith("#")), "")
    except InputError:
        return False
    path, label = _cut(first)
    return bool(suffix_of(path) and label)


def _patients(files: Collection[Path]) -> dict[str, str]:
    """Patients by the names of their images, out of those files that are tables of both."""
    found: dict[str, str] = {}
    for file in files:
        with suppress(InputError):
            table = _Table(file) if file.suffix.lower() in TABLES else None
            if table is not None and {"image", "patient"} <= set(table.columns) and not table.is_complete:
                image, patient = table.columns["image"], table.columns["patient"]
                found |= {
                    _name(row[image]): row[patient].strip()
                    for row in table.rows.values()
                    if len(row) > max(image, patient)
                }
    return found


def _name(image: str) -> str:
    name = Path(image.strip()).name
    return name[: len(name) - len(suffix_of(name))]


class _Table:
    """Cells of a file, its columns by their names here, and the columns of 0 and 1 by their classes."""

    def __init__(self, file: Path) -> None:
        lines = _lines(file)
        delimiter = max(",;\t", key=(lines or [""])[0].count)
        try:
            cells = list(csv.reader(lines, delimiter=delimiter))
        except csv.Error as error:
            raise InputError(f"{file} is no table: {error}") from error
        self.header = [name.strip() for name in cells[0]] if cells else []
        self.rows = {n: row for n, row in enumerate(cells[1:], start=2) if any(cell.strip() for cell in row)}
        written = [name.lower() for name in self.header]
        self.columns = {
            column: next(written.index(name) for name in names if name in written)
            for column, names in _NAMES.items()
            if set(names) & set(written)
        }
        self.classes = {} if "label" in self.columns else self._indicators()

    @property
    def is_complete(self) -> bool:
        return "image" in self.columns and ("label" in self.columns or len(self.classes) > 1)

    def _indicators(self) -> dict[str, int]:
        """Columns that hold 0 or 1 in most of their cells; `classes_of` refuses the others."""
        places = [
            (name, place)
            for place, name in enumerate(self.header)
            if place not in self.columns.values() and name.lower() not in _NO_CLASSES
        ]
        return {name: place for name, place in places if self._is_indicator(place)}

    def _is_indicator(self, place: int) -> bool:
        cells = [row[place].strip() for row in self.rows.values() if len(row) > place]
        filled = [cell for cell in cells if cell]
        return 2 * sum(cell in _INDICATORS for cell in filled) > len(filled)

    def classes_of(self, cells: Sequence[str]) -> tuple[str, str]:
        """Return the classes of a row whose columns hold 1, and what is wrong with it."""
        if len(cells) != len(self.header):
            return "", f"it has {len(cells)} cells, the header {len(self.header)}"
        texts = {name: cells[place].strip() for name, place in self.classes.items()}
        wrong = next((name for name, text in texts.items() if text not in _INDICATORS), None)
        if wrong is not None:
            return "", f"the column of a class holds 0 or 1, found {texts[wrong]!r} in {wrong}"
        return "|".join(name for name, text in texts.items() if float(text or 0)), ""


def _tabled(file: Path, split: Split | None) -> list[Row]:
    table = _Table(file)
    if "image" in table.columns and len(table.classes) == 1:
        raise InputError(
            f"{file} has one column of 0 and 1, {next(iter(table.classes))}, and no class to tell it from; "
            "call it label, for then 0 and 1 are two classes"
        )
    if not table.is_complete:
        raise InputError(
            f"{file} needs a header with the columns image and label (or one of 0 and 1 for each class), "
            f"found {', '.join(table.header) or 'nothing'}"
        )
    rows = []
    for number, cells in table.rows.items():
        texts = {name: cells[place].strip() for name, place in table.columns.items() if place < len(cells)}
        label, wrong = table.classes_of(cells) if table.classes else (texts.get("label", ""), "")
        rows.append(
            Row(
                texts.get("image", ""),
                label,
                file.resolve().parent,
                f"{file}, line {number}",
                texts.get("patient", ""),
                texts.get("split", "") or split or "",
                texts.get("fold", ""),
                wrong,
            )
        )
    return rows


def _listed(file: Path, split: Split | None) -> list[Row]:
    rows = []
    for number, line in enumerate(_lines(file), start=1):
        if line.strip() and not line.startswith("#"):
            path, label = _cut(line)
            place = f"{file}, line {number}"
            rows.append(Row(path, label, file.resolve().parent, place, split=split or ""))
    return rows


def _cut(line: str) -> tuple[str, str]:
    """Path and label of a line: apart by a tab, else by the space after an image suffix, else by the last."""
    line = line.strip()
    spaces = [place for place, letter in enumerate(line) if letter == " "]
    after = (place for place in spaces if suffix_of(line[:place]))
    cut = line.find("\t") if "\t" in line else next(after, spaces[-1] if spaces else len(line))
    return line[:cut].strip(), line[cut:].strip()
