"""Choose the format by suffix; turn every library's complaint into one sentence that names the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unimiss.errors import InputError
from unimiss.io import dicom, itk, nifti, picture, tiff
from unimiss.io.image import Image
from unimiss.runs import atomic

_READERS: dict[str, Callable[[Path], Image]] = {
    ".nii.gz": nifti.read,
    ".nii": nifti.read,
    ".nrrd": itk.read,
    ".mha": itk.read,
    ".png": picture.read,
    ".jpg": picture.read,
    ".jpeg": picture.read,
    ".gif": picture.read,
    ".tif": tiff.read,
    ".tiff": tiff.read,
    **dict.fromkeys(dicom.SUFFIXES, dicom.read),
}
_WRITERS: dict[str, Callable[[Image, Path], None]] = {
    ".nii.gz": nifti.write,
    ".nii": nifti.write,
    ".nrrd": itk.write,
    ".mha": itk.write,
    ".png": picture.write,
}
_MASK_WRITERS = {".dcm": dicom.write}
IMAGE_SUFFIXES = tuple(_READERS)


def suffix_of(path: Path | str) -> str:
    """Return the image suffix of a path, ``.nii.gz`` as one, or "" where it is none that can be read."""
    name = Path(path).name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), "")


def is_image(path: Path) -> bool:
    """Whether a file is an image by its suffix or, as DICOM often has none, by its first bytes."""
    return bool(suffix_of(path)) or (path.is_file() and dicom.has_magic(path))


def is_dicom(path: Path) -> bool:
    """Whether a path is a DICOM file or a folder with DICOM images directly in it."""
    if path.is_dir():
        return dicom.holds_dicom(path)
    suffix = suffix_of(path)
    return suffix in dicom.SUFFIXES or (not suffix and path.is_file() and dicom.has_magic(path))


def files_of(path: Path) -> tuple[Path, ...]:
    """Return the files that an image is made from: all slices of a DICOM series, else the file itself.

    Of a folder with a picture for each slice these pictures.

    Raises
    ------
    InputError
        A DICOM path holds no image or several, or is damaged.
    """
    if not is_dicom(path):
        return _pictures(path) or (path,)
    with sentences(path):
        return dicom.files_of(path)


def _pictures(folder: Path) -> tuple[Path, ...]:
    """Images directly in a folder, of which each may be looked at; whoever reads the folder says why not."""
    try:
        return tuple(sorted(file for file in folder.iterdir() if is_image(file) and file.is_file()))
    except OSError:
        return ()


def read(path: Path | str) -> Image:
    """Read an image file into anatomical order.

    Parameters
    ----------
    path : path
        NIfTI, NRRD, MHA, PNG, JPEG, GIF or TIFF; of a DICOM series any file or its folder.

    Returns
    -------
    Image
        Volumes ``(C, depth, height, width)``: slices from feet to head, rows front to back, columns from
        the patient's right to left. Radiographs ``(C, height, width)`` as stored. Integers and floating
        point numbers as the file holds them, NaN and infinity included; contiguous, in native byte order.

    Raises
    ------
    InputError
        The file is missing, empty, damaged or of an unknown kind.
    """
    path = Path(path)
    with sentences(path):
        image = _READERS[readable_suffix(path)](path)
        array = image.array
        if array.size == 0:
            raise InputError(f"it holds no voxels: its shape is {array.shape[1:]}")
        if array.dtype.kind not in "iuf":
            raise InputError(f"it holds {array.dtype} values; only plain numbers can be used")
        return image.with_array(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))


def readable_suffix(path: Path) -> str:
    """Return the suffix of a file that is there and not empty, or say what is wrong with it.

    A folder, and a file that is DICOM by its first bytes, have DICOM's.
    """
    if path.is_symlink() and not path.exists():
        raise InputError("it is a link to a file that is not there; copy that file to this place")
    if not path.exists():
        raise InputError("there is no such file; check the spelling")
    if path.is_dir():
        return dicom.SUFFIXES[0]
    suffix = suffix_of(path) or (dicom.SUFFIXES[0] if dicom.has_magic(path) else "")
    if not suffix:
        raise InputError(f"cannot read this kind of file; use one of {', '.join(IMAGE_SUFFIXES)}")
    if not path.is_file():  # opening a pipe waits for its writer
        raise InputError("it is no file but a pipe or a device; name the image file")
    with open(path, "rb") as file:
        if not file.read(1):
            raise InputError("it is empty (0 bytes); copy it again from its source")
    return suffix


def writable_suffix(path: Path) -> str:
    """Return the suffix of a file to be written, or say which there are; worth asking before long work."""
    suffix = suffix_of(path)
    if suffix not in _WRITERS:
        raise InputError(f"{path}: cannot write this kind of file; use one of {', '.join(_WRITERS)}")
    return suffix


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """Turn whatever is raised while `path` is read into an InputError that names it."""
    try:
        yield
    except InputError as error:  # geometry and the formats' readers do not know the file's name
        raise InputError(f"{path}: {error}") from error
    except PermissionError as error:
        raise InputError(f"{path}: this user may not read it; change its permissions") from error
    except MemoryError as error:
        raise InputError(
            f"{path}: its voxels do not fit into memory; check its header, or crop it"
        ) from error
    except Exception as error:  # decoders raise anything on damaged files
        raise InputError(
            f"{path}: it is damaged or is not a {suffix_of(path) or 'DICOM'} file ({_first_line(error)}); "
            "copy it again from its source"
        ) from error


def write(image: Image, path: Path | str) -> None:
    """Write an image in the orientation, and with the header, of the file that it came from.

    The file appears complete or not at all. A mask that was made from DICOM may be written as ``.dcm``, a
    DICOM segmentation. Truth values are written as uint8, float16 as float32.

    Raises
    ------
    InputError
        The suffix names no format that can be written, or the format cannot hold the image.
    JobError
        The disk is full or the folder may not be written; what stood at `path` is untouched.
    """
    path = Path(path)
    writer = _MASK_WRITERS.get(path.suffix.lower()) or _WRITERS[writable_suffix(path)]
    try:
        plain = replace(image, array=_storable(image.array))
        atomic.write(path, lambda temporary: writer(plain, temporary))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    """Return the same values as numbers of a kind that image files hold."""
    if array.size == 0:
        raise InputError("an image without voxels cannot be written")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{array.dtype} values cannot be written; only plain numbers can")
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        return array.astype(np.float64 if array.dtype.itemsize >= 8 else np.float32, copy=False)
    return array


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
