"""Pixels of a DICOM file, checked against its header before anything large is allocated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    HTJ2K,
    AllTransferSyntaxes,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000TransferSyntaxes,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from unimiss.errors import InputError
from unimiss.io import itk
from unimiss.io.dicom.headers import numbers, open_header, whole

# pydicom's decoders of these are under the GPL or absent; ITK's are there anyway.
_BY_ITK = frozenset({JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1, *JPEGLSTransferSyntaxes})
_JPEG_2000 = frozenset({*JPEG2000TransferSyntaxes, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL})
_SIZE_OF_JPEG_2000 = b"\xff\x4f\xff\x51"
_BITS = (8, 16, 32)
_INVERTED = "MONOCHROME1"
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_KNOWN = (_INVERTED, "MONOCHROME2", *_COLOURS)
_REFUSED = ("PALETTE COLOR", "CMYK", "HSV", "ARGB")  # named in sentences; other text may be anything
_UNSUSPICIOUS = 2**28  # bytes
_MOST_COMPRESSED = 1000
_PIXEL_ELEMENTS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
)

Scale = tuple[float, float]


def decode(file: Path, *, invert: bool = False) -> NDArray[Any]:
    """Decode the stored values of a file, before any rescaling.

    Parameters
    ----------
    file : Path
        A DICOM object with pixels.
    invert : bool
        Turn MONOCHROME1, in which low is white, round within its bits.

    Returns
    -------
    array of int, shape (frames, rows, columns) or (frames, rows, columns, 3)

    Raises
    ------
    InputError
        The header contradicts itself or its pixels, or no decoder knows their coding.
    """
    dataset = open_header(file, None, pixels=True)
    shape = _checked_shape(dataset)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax in _BY_ITK:
        values = _decode_by_itk(dataset)
    elif syntax in AllTransferSyntaxes and get_decoder(syntax).is_available:
        values = pixel_array(dataset)
    else:
        name = syntax.name if syntax in AllTransferSyntaxes else "an unknown syntax"
        raise InputError(f"its pixels are coded as {name}, which cannot be decoded; convert it first")
    values = np.asarray(values).reshape(shape)
    top = 2 ** whole(dataset, "BitsStored") - 1
    if "ModalityLUTSequence" in dataset:
        values = np.asarray(apply_modality_lut(values, dataset))
        top = int(np.iinfo(values.dtype).max)
    if not invert or dataset.PhotometricInterpretation != _INVERTED:
        return values
    return ~values if values.dtype.kind == "i" else (top - np.minimum(values, top)).astype(values.dtype)


def _checked_shape(dataset: Dataset) -> tuple[int, ...]:
    """Return the shape of the decoded values, after what the header says of them was checked."""
    frames, samples = (max(1, whole(dataset, name, 1)) for name in ("NumberOfFrames", "SamplesPerPixel"))
    rows, columns, bits, stored = (
        whole(dataset, name) for name in ("Rows", "Columns", "BitsAllocated", "BitsStored")
    )
    colours = dataset.get("PhotometricInterpretation")
    if "PixelData" not in dataset:
        raise InputError("it holds no pixels as whole numbers (PixelData); export the image again")
    if rows == 0 or columns == 0:
        raise InputError(f"its header says {rows} x {columns} pixels; export the image again")
    if bits not in _BITS or not 0 < stored <= bits:
        raise InputError(
            f"its pixels have {stored} bits in {bits} (BitsStored, BitsAllocated); 8 to 32 can be read"
        )
    if colours not in _KNOWN or samples != (3 if colours in _COLOURS else 1):
        known = colours if colours in (*_KNOWN, *_REFUSED) else "unknown"
        raise InputError(f"its colours are {known} in {samples} samples; save it as grey or RGB")
    expected = frames * rows * columns * samples * bits // 8
    held = len(dataset.PixelData)
    if dataset["PixelData"].is_undefined_length:
        if expected > _UNSUSPICIOUS and expected > _MOST_COMPRESSED * held:
            raise InputError(
                f"its header claims {frames} x {rows} x {columns} pixels, more than {held} bytes can hold; "
                "copy it again from its source"
            )
        _refuse_other_sizes(dataset, frames, (rows, columns, samples))
    elif (expected * 2 // 3 if colours == "YBR_FULL_422" else expected) > held:
        raise InputError(
            f"its pixels are cut off: {held} of {expected} bytes are there; copy it again from its source"
        )
    return (frames, rows, columns, samples) if samples > 1 else (frames, rows, columns)


def _refuse_other_sizes(dataset: Dataset, frames: int, expected: tuple[int, int, int]) -> None:
    """Refuse compressed frames of another size than the header's: decoders allocate what the frame says."""
    find = _size_in_jpeg_2000 if dataset.file_meta.get("TransferSyntaxUID") in _JPEG_2000 else _size_in_jpeg
    for frame in generate_frames(dataset.PixelData, number_of_frames=frames):
        found = find(frame)
        if found is not None and found != expected:
            raise InputError(
                f"its header says {expected[0]} x {expected[1]} pixels and its compressed data "
                f"{found[0]} x {found[1]}; copy it again from its source"
            )


def _size_in_jpeg_2000(frame: bytes) -> tuple[int, int, int] | None:
    start = frame.find(_SIZE_OF_JPEG_2000)
    if start < 0:
        return None
    right, bottom, left, top = (
        int.from_bytes(frame[start + at : start + at + 4], "big") for at in (8, 12, 16, 20)
    )
    return bottom - top, right - left, int.from_bytes(frame[start + 40 : start + 42], "big")


def _size_in_jpeg(frame: bytes) -> tuple[int, int, int] | None:
    """Size from the first frame header; also of JPEG-LS. None for other codings, as RLE."""
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 10 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            height, width = (int.from_bytes(frame[at + n : at + n + 2], "big") for n in (5, 7))
            return height, width, frame[at + 9]
        at += 1 if marker == 0xFF else 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None


def _decode_by_itk(dataset: Dataset) -> NDArray[Any]:
    """Decode by ITK, from a temporary file that holds nothing but the pixels: it rescales otherwise."""
    bare = Dataset()
    for name in _PIXEL_ELEMENTS:
        if name in dataset:
            bare[name] = dataset[name]
    bare.SOPClassUID, bare.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    with TemporaryDirectory(prefix="unimiss-") as folder:
        path = Path(folder) / "pixels.dcm"
        bare.save_as(path, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        with itk.decoding():
            return np.asarray(sitk.GetArrayFromImage(reader.Execute()))


def scale_of(part: Dataset, name: str) -> Scale:
    """Slope and intercept that turn stored values into those of the modality, such as Hounsfield units."""
    slope, intercept = (numbers(part, tag, 1, name) for tag in ("RescaleSlope", "RescaleIntercept"))
    found = 1.0 if slope is None else float(slope[0]), 0.0 if intercept is None else float(intercept[0])
    if found[0] == 0:
        raise InputError(f"{name} has RescaleSlope 0, which would make it constant; export the series again")
    return found


def rescaled(stored: Sequence[NDArray[Any]], scales: Sequence[Scale]) -> NDArray[Any]:
    """Stack planes, each with its own scale.

    Returns
    -------
    array, shape (planes, rows, columns) or (planes, rows, columns, 3)
        In the stored type where nothing is rescaled, int16 where that is exact, else float32.
    """
    if all(scale == (1.0, 0.0) for scale in scales):
        return np.stack(stored)
    kind: Any = np.int16 if _fit_int16(stored, scales) else np.float32
    out = np.empty((len(stored), *stored[0].shape), kind)
    for target, values, (slope, intercept) in zip(out, stored, scales, strict=True):
        target[...] = values * np.float64(slope) + intercept  # exact for whole numbers of 32 bit
    return out


def _fit_int16(stored: Sequence[NDArray[Any]], scales: Sequence[Scale]) -> bool:
    bounds = np.iinfo(np.int16)
    for values, (slope, intercept) in zip(stored, scales, strict=True):
        ends = [float(end) * slope + intercept for end in (values.min(), values.max())]
        if not (slope.is_integer() and intercept.is_integer()) or not (
            bounds.min <= min(ends) and max(ends) <= bounds.max
        ):
            return False
    return True
