"""DICOM files to an image: a volume from slices that say where they lie, a flat image from all else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.io.dicom.headers import modality_of, numbers, open_header, quiet, whole
from unimiss.io.dicom.pixels import Scale, decode, rescaled, scale_of
from unimiss.io.dicom.planes import Plane, grid_of, place, stacked
from unimiss.io.dicom.segmentation import Source
from unimiss.io.dicom.series import files_of
from unimiss.io.image import Image, Provenance

_FLAT_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_PLACED = ("ImagePositionPatient", "ImageOrientationPatient")
_NEEDED = (
    *_PLACED,
    *_FLAT_SPACINGS,
    "Modality",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "Columns",
    "SharedFunctionalGroupsSequence",
    "SliceThickness",
    "SpacingBetweenSlices",
)

_Headers = dict[Path, Dataset]


def read(path: Path) -> Image:
    """Read a series, a multi-frame object or a radiograph, from its folder or from any file of it.

    Slices are sorted by position, each is rescaled by its own header, and identical copies are dropped.
    Flat images get the spacing that the header states, and bone is bright in them.

    Raises
    ------
    InputError
        A folder holds several images, or the slices make no regular grid.
    """
    with quiet():
        headers = _headers(path)
        groups = _groups(headers)
        modality = modality_of(next(iter(headers.values())))
        if groups:
            stored = grid_of([group[0] for group in groups])
            planes = tuple((group[0].file, group[0].frame) for group in groups)
            values = _volume(groups, headers, path)
        else:
            ((file, header),) = headers.items()
            planes = ((file, 0),)
            with _naming(file, path):
                frame = decode(file, invert=True)[0]
            values, stored = rescaled([frame], [scale_of(header, file.name)])[0], _flat_grid(header)
        array = np.moveaxis(values, -1, 0) if values.ndim > stored.ndim else values[None]
        change = stored.to_anatomical()
        way_back = Provenance(path, "dicom", change, Source(planes, stored), modality)
        return Image(change.apply(array), stored.reoriented(change), way_back)


def grid(path: Path) -> Geometry:
    """Grid of the sorted slices, slowest axis first; reads headers only."""
    with quiet():
        headers = _headers(path)
        groups = _groups(headers)
        if groups:
            return grid_of([group[0] for group in groups])
        return _flat_grid(next(iter(headers.values())))


def slices(path: Path) -> tuple[Path, ...]:
    """Files of a series in the order of their places, as `grid` counts its slices; reads headers only.

    Raises
    ------
    InputError
        It is no series of files, or two of them lie at one place.
    """
    with quiet():
        headers = _headers(path)
        groups = _groups(headers)
        if len(groups) != len(headers):
            raise InputError("its files are not one slice each, at places of their own")
        return tuple(group[0].file for group in groups)


def _headers(path: Path) -> _Headers:
    headers = {}
    for file in files_of(path):
        with _naming(file, path):
            headers[file] = open_header(file, _NEEDED)
    return headers


@contextmanager
def _naming(file: Path, asked: Path) -> Iterator[None]:
    """Put the name of a slice before what is wrong with it, unless it is the path that was asked for."""
    try:
        with quiet():
            yield
    except (InputError, ValueError) as error:
        if file == asked:
            raise
        raise type(error)(f"{file.name}: {error}") from None


def _groups(headers: _Headers) -> list[list[Plane]]:
    """Planes by position, or nothing for a flat image."""
    planes = [plane for file, header in headers.items() for plane in _planes(file, header)]
    return stacked(planes) if planes else []


def _planes(file: Path, header: Dataset) -> list[Plane]:
    frames = whole(header, "NumberOfFrames", 1)
    shape = whole(header, "Rows"), whole(header, "Columns")
    own = header.get("PerFrameFunctionalGroupsSequence") or ()
    if len(own) not in (0, frames):
        raise InputError(f"its header describes {len(own)} of {frames} frames; export it again")
    if frames == 1 and all(tag in header for tag in _PLACED):
        return [place(file, 0, file.name, shape, header, header, header)]
    if frames > 1 and not own:
        raise InputError(
            f"it holds {frames} frames without places in the patient; save the frame you mean as its own file"
        )
    names = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    parts = [[_part(header, frame, name) for name in names] for frame in range(len(own))]
    if frames == 1 and parts and "ImagePositionPatient" not in parts[0][0]:
        return []
    return [place(file, i, f"frame {i + 1}", shape, *three) for i, three in enumerate(parts)]


def _part(header: Dataset, frame: int, name: str) -> Dataset:
    """Return a functional group of a frame: its own, else the one of all frames, else an empty one."""
    for groups, at in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        found = header.get(groups)
        part: Sequence[Dataset] | None = found[at].get(name) if found else None
        if part:
            return part[0]
    return Dataset()


def _scale(plane: Plane, header: Dataset) -> Scale:
    part = _part(header, plane.frame, "PixelValueTransformationSequence")
    return scale_of(part if len(part) else header, plane.name)


def _volume(groups: list[list[Plane]], headers: _Headers, path: Path) -> NDArray[Any]:
    """Values of sorted planes: (planes, rows, columns) or (planes, rows, columns, 3)."""
    decoded = {}
    for file in headers:
        with _naming(file, path):
            decoded[file] = decode(file)
    stored: list[NDArray[Any]] = []
    scales: list[Scale] = []
    for first, *copies in groups:
        values, scale = decoded[first.file][first.frame], _scale(first, headers[first.file])
        if values.shape != (stored[0] if stored else values).shape:
            raise InputError(f"{first.name} has other colours than the slices before it; export it apart")
        for copy in copies:
            same = _scale(copy, headers[copy.file]) == scale
            if not (same and np.array_equal(values, decoded[copy.file][copy.frame])):
                raise InputError(
                    f"{first.name} and {copy.name} show different things at one position: the series holds "
                    "several volumes, such as times or echoes; separate them first"
                )
        stored.append(values)
        scales.append(scale)
    return rescaled(stored, scales)


def _flat_grid(header: Dataset) -> Geometry:
    shape = whole(header, "Rows"), whole(header, "Columns")
    for name in _FLAT_SPACINGS:
        spacing = numbers(header, name, 2)
        if spacing is not None and (spacing > 0).all():
            return Geometry.from_spacing(shape, spacing.tolist())
    return Geometry.from_spacing(shape, units="pixel")
