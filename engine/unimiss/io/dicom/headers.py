"""Headers of DICOM files, read without their pixels and without letting personal data out.

pydicom puts values of the header into its warnings and errors. Neither gets past `quiet`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian, MediaStorageDirectoryStorage

from unimiss.errors import InputError

for _talker in ("openjpeg", "pydicom", "pylibjpeg"):
    logging.getLogger(_talker).setLevel(logging.CRITICAL + 1)

SUFFIXES = (".dcm", ".dicom", ".ima")
_NO_IMAGES = frozenset({"KO", "PR", "REG", "RTDOSE", "RTPLAN", "RTSTRUCT", "SEG", "SR"})
_WHOSE = ("PatientID", "StudyInstanceUID")
_PERSONAL = ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber")
_SCANNED = (
    *_PERSONAL,
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "SOPInstanceUID",
    "SeriesDescription",
    "ImageType",
    "Modality",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)
_LONGEST_DESCRIPTION = 64
_META = 2  # group of the elements that say how the others are written
_LARGE = 2**16  # bytes; smaller reads need no care
_KEY = 16  # hexadecimal digits


class Identity(NamedTuple):
    """What one file is and where it belongs; says nothing about the person.

    Attributes
    ----------
    series : str
        SeriesInstanceUID.
    stack : str
        Same for files that make one image: the series for slices, the object itself for all else.
    is_slice : bool
        Whether it is one slice of a stack and says where it lies.
    modality : str
        As the header says it: CT, MR, CR, …
    description : str
        Of the series, in one line, without words that name the patient.
    shape : tuple of int
        Frames, rows, columns; no rows where the object holds no image.
    localizer : bool
        Whether it only shows where other images lie.
    patient : str
        Key that is the same for all images of a patient.
    """

    series: str
    stack: str
    is_slice: bool
    modality: str
    description: str
    shape: tuple[int, int, int]
    localizer: bool
    patient: str

    @property
    def is_image(self) -> bool:
        """Whether it holds pixels that show a patient."""
        return self.shape[1] > 0 and self.modality not in _NO_IMAGES

    @property
    def is_found(self) -> bool:
        """Whether a search through a folder should offer it; a localizer has to be named itself."""
        return self.is_image and not self.localizer

    @property
    def name(self) -> str:
        """Name for what is made from the image; file and folder names often hold the patient's."""
        return f"{self.modality.lower() or 'image'}_{digest(self.stack)[:12]}"


def digest(text: str) -> str:
    """Return the first hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:_KEY]


def has_magic(path: Path) -> bool:
    """Whether a file says at its start that it is DICOM."""
    try:
        if not path.is_file():  # opening a pipe waits for its writer
            return False
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def identify(path: Path) -> Identity | None:
    """Say where a file belongs, or None where it is not DICOM or its header is damaged."""
    try:
        return identify_or_refuse(path)
    except (OSError, ValueError, InputError):
        return None


def identify_or_refuse(path: Path) -> Identity:
    """Say where a file belongs; what was read is remembered for as long as the file does not change.

    Raises
    ------
    InputError, ValueError, OSError
        It is not DICOM, its header is damaged, or it may not be read.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise InputError("it is no file; name the image file")
    return _identify(str(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=100_000)
def _identify(path: str, _changed: int, _size: int) -> Identity:
    header = open_header(Path(path), _SCANNED)
    with quiet():
        series, own = _text(header, "SeriesInstanceUID"), _text(header, "SOPInstanceUID")
        frames, rows, columns = (
            whole(header, name, missing)
            for name, missing in (("NumberOfFrames", 1), ("Rows", 0), ("Columns", 0))
        )
        kind = header.file_meta.get("MediaStorageSOPClassUID")
        if not (own or rows) and kind != MediaStorageDirectoryStorage:
            raise ValueError("it ends before it says what it is")
        placed = "ImagePositionPatient" in header and "ImageOrientationPatient" in header
        localizer = "LOCALIZER" in (header.get("ImageType") or ())
        is_slice = placed and frames == 1 and not localizer
        # Anonymised slices may have lost the UID of their series, and keep that of their coordinates.
        together = series or _text(header, "FrameOfReferenceUID") or str(Path(path).parent)
        stack = together if is_slice else f"{series}|{own or path}"
        whose = next((value for name in _WHOSE if (value := _text(header, name))), stack)
        return Identity(
            series=series,
            stack=stack,
            is_slice=is_slice,
            modality=modality_of(header),
            description=_description(header),
            shape=(frames, rows, columns),
            localizer=localizer,
            patient=f"dicom-{digest(whose)}",
        )


def _description(header: Dataset) -> str:
    """Return the series' description, or nothing where somebody wrote about the patient into it."""
    text = "".join(c if c.isprintable() else " " for c in _text(header, "SeriesDescription"))
    personal = " ".join(_text(header, name) for name in _PERSONAL).lower()
    words = [word for word in re.split(r"[\s^=,.;]+", personal) if len(word) > 2]
    if any(word in text.lower() for word in words):
        return ""
    return " ".join(text.split())[:_LONGEST_DESCRIPTION]


def open_header(path: Path, names: Sequence[str] | None, *, pixels: bool = False) -> Dataset:
    """Read the named elements of a file, or all; with its pixels where they are asked for.

    Raises
    ------
    InputError
        The file has to be inflated first: its size in memory is unknown before.
    ValueError
        It is not DICOM.
    """
    with quiet(), _Bounded(FileIO(path)) as file:
        read_preamble(file, force=False)
        meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag >> 16 != _META)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise InputError("its header is deflated, which cannot be read; save it with another syntax")
        file.seek(0)
        tags: Any = None if names is None else list(names)
        return dcmread(file, stop_before_pixels=not pixels, specific_tags=tags)


class _Bounded(BufferedReader):
    """A file from which a false length cannot make Python reserve more memory than there are bytes left."""

    def read(self, size: int | None = -1) -> bytes:
        """Read at most `size` bytes."""
        if size is not None and size > _LARGE:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings away, and the values of the header out of its errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (InputError, MemoryError, OSError):
        raise
    except Exception as error:
        raise ValueError(f"pydicom cannot decode it: {type(error).__name__}") from None


def modality_of(header: Dataset) -> str:
    """Modality, such as CT; nothing where the header holds anything but a code."""
    text = _text(header, "Modality").upper()
    return text if re.fullmatch(r"[A-Z]{1,9}", text) else ""


def whole(header: Dataset, name: str, missing: int = 0) -> int:
    """Whole number of an element that is not negative; `missing` where there is none."""
    value = header.get(name)
    if value is None or value == "":
        return missing
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if number < 0:
        raise InputError(f"its {name} is not a whole number; copy it again from its source")
    return number


def numbers(header: Dataset, name: str, count: int, whose: str = "the file") -> NDArray[np.float64] | None:
    """Return the `count` numbers of an element, or None where there is none; `whose` is for the sentence.

    Raises
    ------
    InputError
        It has other values.
    """
    value = header.get(name)
    if value is None or value == "":
        return None
    try:
        found = np.atleast_1d(np.array(value, dtype=np.float64))
    except (TypeError, ValueError, OverflowError):
        found = np.array([])
    if found.shape != (count,) or not np.isfinite(found).all():
        raise InputError(f"the {name} of {whose} is not {count} number{'s' * (count > 1)}; export it again")
    return found


def _text(header: Dataset, name: str) -> str:
    value = header.get(name)
    return "" if value is None else str(value).strip()
