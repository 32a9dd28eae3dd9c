"""Lists of images: text with one path a line, and tables."""

from __future__ import annotations

import csv
from pathlib import Path

from unimiss.errors import InputError

SUFFIXES = (".txt", ".lst", ".csv")
_COLUMNS = ("image", "path", "file", "filename", "file_name", "image_path", "filepath", "image index")


def read_list(path: Path) -> list[Path]:
    """Paths that a list names, relative to it, whether or not they exist.

    Blank lines and those that begin with ``#`` say nothing. Of a table (``.csv``; comma, semicolon or tab)
    the column called image, path or file counts, else the first one.

    Raises
    ------
    InputError
        It is no text, or names nothing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # Excel begins its UTF-8 with a mark
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        names = _column(lines) if path.suffix.lower() == ".csv" else lines
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path} is not a text list of paths") from error
    named = [path.parent / name.strip() for name in names if name.strip()]
    if not named:
        raise InputError(f"{path} names no image; write one path a line")
    return named


def _column(lines: list[str]) -> list[str]:
    delimiter = max(",;\t", key=(lines or [""])[0].count)
    rows = list(csv.reader(lines, delimiter=delimiter))
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    known = [name for name in _COLUMNS if name in header]
    place = header.index(known[0]) if known else 0
    return [row[place] for row in (rows[1:] if known else rows) if len(row) > place]
