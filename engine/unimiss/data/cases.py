"""Which images there are, whose they are, and which of them may be trained on."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from unimiss.data import lists
from unimiss.data.grids import mismatch
from unimiss.data.naming import is_mask, named_patient
from unimiss.errors import InputError
from unimiss.io import IMAGE_SUFFIXES, Image, dicom, is_dicom, is_image, read, suffix_of

_NUMBERED = re.compile(r"(.+)_(\d{4})")  # nnU-Net: case_channel

Split = Literal["training", "validation", "test"]


@dataclass(frozen=True)
class Case:
    """One patient's image with what is known of it.

    Attributes
    ----------
    images : tuple of Path
        One file, or one for each modality; they lie on one grid.
    masks : tuple of Path
        Segmentation: one label image, or one file for each class of a data set whose classes overlap.
    classes : tuple of str
        Classification: names of its classes.
    patient : str
        Key by which splits keep a patient's images together; by default from the first image's name.
    split : "training", "validation" or "test", optional
        Where the data set says so.
    fold : int, optional
        In which part of the data set it validates, where the data set says so.
    """

    images: tuple[Path, ...]
    masks: tuple[Path, ...] = ()
    classes: tuple[str, ...] = ()
    patient: str = ""
    split: Split | None = None
    fold: int | None = None

    def __post_init__(self) -> None:
        if not self.patient:
            object.__setattr__(self, "patient", patient_of(self.images[0]))

    @property
    def image(self) -> Path:
        """First, mostly the only, image file."""
        return self.images[0]

    @property
    def name(self) -> str:
        """Name of the first file without its suffix and, with several modalities, without its number."""
        return case_name(self.images)


def case_name(files: Sequence[Path]) -> str:
    """Name of a case: its file's without suffix; of several files without the number of the channel too."""
    name = stem(files[0])
    numbered = _NUMBERED.fullmatch(name) if len(files) > 1 else None
    return numbered[1] if numbered else name


def group_channels(files: Iterable[Path]) -> dict[Path, dict[int, Path]]:
    """Sort files by case and channel: ``a_0000.nii.gz`` and ``a_0001.nii.gz`` are channels 0 and 1 of ``a``.

    Returns
    -------
    dict
        For each case, by its path without the number, its files by channel. A file without a number is
        channel 0 of a case of its own name.
    """
    groups: dict[Path, dict[int, Path]] = {}
    for file in files:
        suffix = suffix_of(file)
        numbered = None if is_dicom(file) else _NUMBERED.fullmatch(file.name.removesuffix(suffix))
        case, channel = (file.with_name(numbered[1] + suffix), int(numbered[2])) if numbered else (file, 0)
        groups.setdefault(case, {})[channel] = file
    return groups


def read_image(files: Sequence[Path]) -> Image:
    """Read the image of a case: the channels of all its files, in their order.

    Returns
    -------
    Image
        (C, *shape) on the first file's grid, with the way back to that file.

    Raises
    ------
    InputError
        A file cannot be read, or lies on another grid than the first.
    """
    return joined(files, [read(file) for file in files])


def joined(files: Sequence[Path], images: Sequence[Image]) -> Image:
    """Put the channels of a case's files together, as `read_image` does, once they are read."""
    first = images[0]
    for file, image in zip(files, images, strict=True):
        difference = mismatch(first.geometry, image.geometry)
        if difference:
            raise InputError(f"{file} does not lie on the grid of {files[0].name}: {difference}; resample it")
    return first if len(images) == 1 else first.with_array(np.concatenate([one.array for one in images]))


def stem(path: Path) -> str:
    """File name without its image suffix (``a.nii.gz`` gives ``a``).

    DICOM images get a name from their kind and identifiers (``ct_0123456789ab``): a file of many does not
    stand for a series, and the names of files and folders often hold the patient's.
    """
    identity = _identity(path)
    if identity is not None:
        return identity.name
    return path.name[: len(path.name) - len(suffix_of(path))]


def patient_of(path: Path) -> str:
    """Patient by the names of the file and its folders, see `named_patient`.

    Of DICOM a hash of the PatientID (else of the study, else of the image) in the header, never the ID.
    """
    identity = _identity(path)
    return identity.patient if identity is not None else named_patient(path)


def _identity(path: Path) -> dicom.Identity | None:
    return dicom.identity_of(path) if os.path.exists(path) and is_dicom(path) else None


def is_held_out(patient: str, share: int) -> bool:
    """Whether a patient belongs to the evaluation split: one in `share`, by name, whatever else there is.

    The rule depends on nothing but the name, so pre-training and fine-tuning, today and next year, agree
    on who is never trained on. `share` 0 holds nobody out.
    """
    return share > 0 and zlib.crc32(patient.encode()) % share == 0


def fold_of(patients: Sequence[str], folds: int) -> dict[str, int]:
    """Deal patients to folds evenly, in an order that depends on their names alone."""
    order = sorted(set(patients), key=lambda patient: (zlib.crc32(f"fold:{patient}".encode()), patient))
    return {patient: i % folds for i, patient in enumerate(order)}


@dataclass(frozen=True)
class Found:
    """Files of a search.

    Attributes
    ----------
    images : list of Path
        One file of each image.
    masks : list of Path
        What was left out of the folders as masks, by its name or place.
    """

    images: list[Path]
    masks: list[Path]


def find_images(paths: Sequence[Path]) -> list[Path]:
    """Collect image files as `search` does, without the masks."""
    return search(paths).images


def search(paths: Sequence[Path]) -> Found:
    """Collect image files from files, folders and lists, which `read_list` reads.

    Folders are searched deeply; files that `is_mask` calls masks are kept apart, but never those that are
    named themselves. Of each DICOM series in a folder there is one file, which stands for all; objects
    without pixels are left out. Lists name files and folders; an entry that is missing, or holds no image,
    stays, so that whoever reads it names it.

    Raises
    ------
    InputError
        A path does not exist, nor does anything in a list, or no image is found.
    """
    found = Found([], [])
    for path in paths:
        if path.is_dir():
            _search_folder(path, found)
        elif not path.exists():
            raise InputError(f"{path}: there is no such file or folder")
        elif is_image(path):
            found.images.append(path)
        elif path.suffix.lower() in lists.SUFFIXES:
            _search_list(path, found)
        else:
            raise InputError(f"{path} is neither an image, a folder nor a text list of paths")
    return Found(_one_each(found.images), list(dict.fromkeys(found.masks)))


def _search_folder(folder: Path, found: Found) -> None:
    inside = sorted(path for path in folder.rglob("*") if _is_image_in(path))
    if not inside:
        raise InputError(f"{folder}: no image in this folder (looked for {', '.join(IMAGE_SUFFIXES)})")
    masks = [path for path in inside if is_mask(path.relative_to(folder))]
    if len(masks) == len(inside):
        raise InputError(
            f"{folder}: all {len(masks)} files in it are masks by their names; list them in a file if not"
        )
    found.masks.extend(masks)
    of_masks = set(masks)
    found.images.extend(path for path in inside if path not in of_masks)


def _search_list(path: Path, found: Found) -> None:
    named = lists.read_list(path)
    if not any(os.path.exists(item) for item in named):
        raise InputError(f"{path} names {len(named)} files, and none is there, first {named[0]}")
    for item in named:
        if os.path.isdir(item):
            with suppress(InputError):
                _search_folder(item, found)
                continue
        found.images.append(item)


def _one_each(paths: Sequence[Path]) -> list[Path]:
    """Keep the first file of each image; damaged ones stay, so that whoever reads them names them."""
    first: dict[object, Path] = {}
    for path in paths:
        identity = _identity_of_file(path)
        first.setdefault((path.parent, identity.stack) if identity else path, path)
    return list(first.values())


def _identity_of_file(path: Path) -> dicom.Identity | None:
    return dicom.identify(path) if os.path.isfile(path) and is_dicom(path) else None


def _is_image_in(path: Path) -> bool:
    """Whether something in a folder is an image.

    A folder that this user may not search counts, and one with an image's name and none in it: whoever reads
    them names them.
    """
    if path.name.startswith("."):
        return False
    try:
        is_folder = path.is_dir()
    except PermissionError:  # its folder is locked, and counts
        return False
    if is_folder:
        return _is_locked(path) or (bool(suffix_of(path)) and not any(map(is_image, path.rglob("*"))))
    if not is_image(path):
        return False
    identity = _identity_of_file(path)
    return identity is None or identity.is_found


def _is_locked(folder: Path) -> bool:
    try:
        os.scandir(folder).close()
        os.stat(os.path.join(folder, os.curdir))
    except PermissionError:
        return True
    return False
