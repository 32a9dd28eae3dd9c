"""Which series lie in a folder, and which files make one image; headers only."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from unimiss.errors import InputError
from unimiss.io.dicom.headers import SUFFIXES, Identity, has_magic, identify, identify_or_refuse

_log = logging.getLogger(__name__)
_NAMED = 5


@dataclass(frozen=True)
class Series:
    """Files of a folder that make one image: the slices of a series, or one object with all its frames.

    Attributes
    ----------
    uid : str
        SeriesInstanceUID; radiographs and multi-frame objects of one series share it.
    description : str
        What the header says of the series, without what names the patient.
    modality : str
        CT, MR, CR, …
    slices : int
        Number of slices or frames.
    shape : tuple of int
        ``(slices, rows, columns)``, or ``(rows, columns)`` of a flat image.
    files : tuple of Path
        Sorted by name, which says nothing about their order in the patient.
    """

    uid: str
    description: str
    modality: str
    slices: int
    shape: tuple[int, ...]
    files: tuple[Path, ...]

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        described = f" '{self.description}'" if self.description else ""
        return f"{self.modality or 'image'}{described} {size} (name {self.files[0].name})"


def series_in(folder: Path) -> list[Series]:
    """Find the images that DICOM files directly in a folder make.

    Objects without pixels and localizers are left out.

    Parameters
    ----------
    folder : Path
        Sub-folders are not searched.

    Returns
    -------
    list of Series
        Sorted by their first files' names.
    """
    stacks: dict[str, list[tuple[Path, Identity]]] = {}
    for path in sorted(folder.iterdir()):
        identity = _candidate(path)
        if identity is not None and identity.is_found:
            stacks.setdefault(identity.stack, []).append((path, identity))
    return [_series(members) for members in stacks.values()]


def _candidate(path: Path) -> Identity | None:
    """Identity of a file that may be DICOM; a damaged one is named, for a slice may be missing now."""
    named = path.suffix.lower() in SUFFIXES
    if path.name.startswith(".") or not path.is_file() or not (named or has_magic(path)):
        return None
    identity = identify(path)
    if identity is None:
        _name(path)
    return identity


@lru_cache(maxsize=1000)
def _name(path: Path) -> None:
    """Say that a file is left out: once, however often its folder is searched."""
    _log.warning("%s cannot be read as DICOM and is left out", path.name)


def _series(members: list[tuple[Path, Identity]]) -> Series:
    first = members[0][1]
    frames, rows, columns = first.shape
    slices = frames if len(members) == 1 else len(members)
    shape = (slices, rows, columns) if slices > 1 or first.is_slice else (rows, columns)
    files = tuple(path for path, _ in members)
    return Series(first.series, first.description, first.modality, slices, shape, files)


def holds_dicom(folder: Path) -> bool:
    """Whether any file directly in a folder is a DICOM image; not where the folder may not be read."""
    try:
        paths = list(folder.iterdir())
    except OSError:
        return False
    return any(
        identity.is_found
        for path in paths
        if (path.suffix.lower() in SUFFIXES or has_magic(path)) and (identity := identify(path))
    )


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files of the image that a folder or a file stands for, sorted by name.

    Raises
    ------
    InputError
        A folder holds no image or several, or a file holds none.
    ValueError
        A file is damaged.
    """
    if path.is_dir():
        return _only(series_in(path)).files
    identity = identify_or_refuse(path)
    if not identity.is_image:
        kind = f" of modality {identity.modality}" if identity.modality else ""
        raise InputError(f"this DICOM object{kind} holds no image; name one that does")
    if not identity.is_slice:
        return (path,)
    return next((series.files for series in series_in(path.parent) if path in series.files), (path,))


def identity_of(path: Path) -> Identity | None:
    """Identity of the image that a folder or a file stands for; None where it is not one DICOM image."""
    if not path.is_dir():
        return identify(path)
    found = series_in(path)
    return identify(found[0].files[0]) if len(found) == 1 else None


def _only(found: list[Series]) -> Series:
    if not found:
        raise InputError("this is a folder without DICOM images; name the image file in it")
    if len(found) > 1:
        listed = "; ".join(map(str, found[:_NAMED]))
        more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        raise InputError(
            f"this folder holds {len(found)} DICOM images: {listed}{more}; name one of them by a file of it"
        )
    return found[0]
