"""Masks as DICOM segmentations, by highdicom: slice for slice on the series that they were made from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import generate_uid

from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.io.dicom.concepts import concept
from unimiss.io.dicom.headers import open_header, quiet
from unimiss.io.image import Image

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_MAY_BE_EMPTY = (  # elements that the standard wants, if without a value; anonymised files may lack them
    "AccessionNumber",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
_PROGRAM = "napari-unimiss"
_SERIES_NUMBER = 9000  # above those that scanners give
_LONGEST_LABEL = 64  # characters that a segment's label may have


class Source(NamedTuple):
    """Files of an image, for what refers to them.

    Attributes
    ----------
    planes : tuple of (Path, int)
        File and frame of each plane, in stored order; a flat image has one.
    grid : Geometry
        In stored order.
    """

    planes: tuple[tuple[Path, int], ...]
    grid: Geometry


def write(mask: Image, path: Path) -> None:
    """Write a mask as a binary DICOM segmentation with a segment for each class.

    It belongs to the patient and the study of its source, and names every slice that it lies on. Segments
    are numbered from 1 in the order of the label values; empty slices are left out.

    Parameters
    ----------
    mask : Image
        Made from an image of DICOM, on its grid: label values (1, *shape), or a channel for each class
        where classes overlap. Its `labels` name the classes, 0 is background.

    Raises
    ------
    InputError
        It comes from no DICOM image, is no mask, or its source lacks what a segmentation refers to.
    """
    stored, source = _stored(mask)
    segments, names = _segments(stored, mask)
    with _sentences():
        headers, order = _headers(source)
        _made(segments[order], headers, names).save_as(path)


def require_source(image: Image) -> None:
    """Say, before long work on an image, that no segmentation of it can be written.

    Raises
    ------
    InputError
        It comes from no DICOM image, or that lacks what a segmentation refers to.
    """
    source = _source(image)
    with _sentences():
        _headers(source)


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn the complaints of pydicom and highdicom into one without the values of the header."""
    try:
        with quiet():
            yield
    except ValueError as error:
        raise InputError(
            "no DICOM segmentation can be made of its source, whose header is changed or incomplete; "
            "write nii.gz, nrrd or mha"
        ) from error


def _made(segments: NDArray[Any], headers: list[Dataset], names: list[str]) -> Dataset:
    import highdicom

    return highdicom.seg.Segmentation(
        source_images=headers,
        pixel_array=segments,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_described(number, name) for number, name in enumerate(names, start=1)],
        series_instance_uid=generate_uid(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=_PROGRAM,
        manufacturer_model_name=_PROGRAM,
        software_versions=version(_PROGRAM),
        device_serial_number=version(_PROGRAM),
        content_label="SEGMENTATION",
        series_description="Segmentation, for research only",
    )


def _stored(mask: Image) -> tuple[NDArray[Any], Source]:
    """Values (C, planes, rows, columns) in stored order, and where they lie."""
    header = _source(mask)
    if mask.array.dtype.kind not in "bu":
        raise InputError(f"only masks are written as DICOM, and these are {mask.array.dtype} values")
    array, geometry = mask.in_file_order()
    difference = header.grid.difference(geometry)
    if difference:
        raise InputError(f"the mask does not lie on its DICOM source: {difference}; write nii.gz instead")
    return array.reshape(array.shape[0], len(header.planes), *geometry.shape[-2:]), header


def _source(image: Image) -> Source:
    header = image.provenance.header if image.provenance is not None else None
    if not isinstance(header, Source):
        raise InputError(
            "a DICOM segmentation refers to the DICOM image that it was made from, and this one was made "
            "from none; write nii.gz, nrrd, mha or png"
        )
    return header


def _segments(array: NDArray[Any], mask: Image) -> tuple[NDArray[Any], list[str]]:
    """Segment numbers (planes, rows, columns), or truth values (…, segments) if they overlap; and names."""
    names = {value: name for value, name in mask.labels.items() if value}
    if len(array) > 1 or (len(names) == 1 and array.max() <= 1):
        if len(array) != len(names):
            raise InputError(f"its {len(array)} channels are not those of its {len(names)} classes")
        return np.moveaxis(array, 0, -1) > 0, list(names.values())
    values = np.flatnonzero(np.bincount(array.ravel()))
    names = {**{int(value): f"class {value}" for value in values if value}, **names}
    if not names:
        raise InputError("a mask without any class cannot be written as DICOM")
    numbers = np.zeros(max(names) + 1, dtype=np.uint8 if len(names) < 256 else np.uint16)
    ordered = sorted(names)
    numbers[ordered] = np.arange(1, len(ordered) + 1)
    return numbers[array[0]], [names[value] for value in ordered]


def _headers(source: Source) -> tuple[list[Dataset], list[int]]:
    """Headers of the files; and for each of their frames the plane that shows it."""
    files = list(dict.fromkeys(file for file, _ in source.planes))
    headers = [open_header(file, None) for file in files]
    for header in headers:
        for name in (*_NEEDED, *(["FrameOfReferenceUID"] if source.grid.ndim == 3 else [])):
            if not header.get(name):
                raise InputError(f"its source has no {name}, to which a DICOM segmentation refers")
        for name in _MAY_BE_EMPTY:
            if name not in header:
                setattr(header, name, None)
        if not header.get("SliceThickness"):
            header.SliceThickness = float(source.grid.spacing[0])
    if len(files) > 1 or len(source.planes) == 1:
        return headers, list(range(len(source.planes)))
    frames = [frame for _, frame in source.planes]
    if len(frames) != int(headers[0].NumberOfFrames):
        raise InputError("its source holds the same frame twice, to which a DICOM segmentation cannot refer")
    return headers, [int(plane) for plane in np.argsort(frames)]


def _described(number: int, name: str) -> SegmentDescription:
    import highdicom
    from pydicom.sr.codedict import codes

    category, kind = concept(name)
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=name[:_LONGEST_LABEL] or f"class {number}",
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=_PROGRAM, family=codes.DCM.ArtificialIntelligence, version=version(_PROGRAM)
        ),
    )
