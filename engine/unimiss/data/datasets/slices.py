"""A folder with a picture for each slice of a DICOM series: masks that lie where the series does (CHAOS)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.io import dicom, files_of, is_dicom
from unimiss.io.files import sentences
from unimiss.io.probe import probe


def is_stack(path: Path) -> bool:
    """Whether a path is a folder of pictures; a folder of DICOM is an image by itself."""
    return path.is_dir() and not is_dicom(path)


def slice_pictures(folder: Path, series: Path) -> tuple[list[Path], Geometry]:
    """Pair pictures with the slices of a series.

    A picture belongs to the slice of its name (``IMG-0004-00002``). Where the names differ, the first
    picture belongs to the slice of the first name, and so on, numbers counted as numbers: that is how the
    CT of CHAOS is numbered (``liver_GT_000``, ``i0000,0000b``), and its in-phase masks for the images out of
    phase. It counts only where the slices' names follow their places, up or down; names alone would be luck.

    Parameters
    ----------
    folder : Path
        With pictures and nothing else that is an image.
    series : Path
        Of DICOM: its folder or a file of it.

    Returns
    -------
    list of Path
        The pictures, in the order of the slices' places.
    Geometry
        Grid of the series, as stored: slices, rows, columns.

    Raises
    ------
    InputError
        There is not one picture for each slice, its size differs, or which belongs to which is unknown.
    """
    with sentences(series):
        slices, grid = dicom.slices(series), dicom.grid(series)
    pictures = list(files_of(folder))
    if len(pictures) != len(slices):
        raise InputError(
            f"{folder} holds {len(pictures)} pictures and {series} {len(slices)} slices; "
            "each slice needs a picture of its own"
        )
    found = _by_name(pictures, slices) or _by_order(pictures, slices, folder, series)
    for picture in found:
        shape = probe(picture).shape
        if shape != grid.shape[1:]:
            sizes = [" x ".join(map(str, size)) for size in (shape, grid.shape[1:])]
            raise InputError(f"{picture} has {sizes[0]} pixels, its slice in {series} has {sizes[1]}")
    return found, grid


def _by_name(pictures: Sequence[Path], slices: Sequence[Path]) -> list[Path]:
    by_name = {picture.stem: picture for picture in pictures}
    return [by_name[one.stem] for one in slices] if all(one.stem in by_name for one in slices) else []


def _by_order(pictures: Sequence[Path], slices: Sequence[Path], folder: Path, series: Path) -> list[Path]:
    named, ordered = sorted(slices, key=_counted), sorted(pictures, key=_counted)
    if list(slices) == named:
        return ordered
    if list(slices) == named[::-1]:
        return ordered[::-1]
    raise InputError(
        f"which picture in {folder} belongs to which slice is unknown: the slices of {series} are named in "
        "another order than they lie in; give each picture the name of its slice"
    )


def _counted(path: Path) -> list[tuple[int, str]]:
    """Sort key of a name in which numbers are numbers: ``a2`` comes before ``a10``."""
    parts = re.split(r"(\d+)", path.stem)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
