"""NRRD and MetaImage, by SimpleITK."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.io.compressed import refuse_damaged
from unimiss.io.image import Image, Provenance

_HEADER_BYTES = 65536
_REVERSE = np.eye(4)[[2, 1, 0, 3]]  # (x, y, z) <-> (z, y, x)
_stderr = threading.Lock()


class _Place(NamedTuple):
    """Where ITK says an image lies, axes in the order x, y, z."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    def grid(self, shape: Sequence[int]) -> Geometry:
        """Grid of the file's array; a flat picture counts from its own corner."""
        if len(shape) == 2:
            return Geometry.from_spacing(shape, self.spacing[::-1])
        matrix = np.eye(4)  # ITK's world is LPS: ours, reversed
        matrix[:3, :3] = np.reshape(self.direction, (3, 3)) * self.spacing
        matrix[:3, 3] = self.origin
        return Geometry(tuple(shape), _REVERSE @ matrix @ _REVERSE)

    @classmethod
    def of_file(cls, file: sitk.Image | sitk.ImageFileReader) -> _Place:
        """Place that an image or an opened file states."""
        return cls(file.GetSpacing(), file.GetOrigin(), file.GetDirection())

    @classmethod
    def of(cls, geometry: Geometry) -> _Place:
        """Place of a grid; the reverse of `grid`."""
        spacing = geometry.spacing[::-1]
        if geometry.ndim == 2:
            return cls(spacing, (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
        matrix = _REVERSE @ geometry.matrix @ _REVERSE
        direction = (matrix[:3, :3] / np.array(spacing)).ravel().tolist()
        return cls(spacing, tuple(matrix[:3, 3].tolist()), tuple(direction))


def read(path: Path) -> Image:
    """Read a volume or a radiograph; vector pixels become channels."""
    reader = _open(path)
    _refuse_damaged(path, reader)
    with decoding():
        file = reader.Execute()
    data = sitk.GetArrayFromImage(file)
    array = np.moveaxis(data, -1, 0) if file.GetNumberOfComponentsPerPixel() > 1 else data[None]
    place = _Place.of_file(file)
    stored = place.grid(array.shape[1:])
    change = stored.to_anatomical()
    return Image(change.apply(array), stored.reoriented(change), Provenance(path, "itk", change, place))


def grid(path: Path) -> Geometry:
    """Grid of the file's array as it is stored, slowest axis first; reads the header only."""
    reader = _open(path)
    return _Place.of_file(reader).grid(reader.GetSize()[::-1])


def _header(path: Path) -> tuple[list[tuple[bytes, bytes]], int]:
    """Fields in lower case, names without blanks; and where the voxels begin, 0 where that was not found."""
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES)
    last = b"" if path.suffix.lower() == ".nrrd" else b"elementdatafile"
    fields, end = [], 0
    for line in head.splitlines(keepends=True):
        end += len(line)
        name, _, value = line.lower().replace(b"=", b":").partition(b":")
        fields.append((name.replace(b" ", b"").strip(), value.strip()))
        if fields[-1][0] == last:
            return fields, end
    return fields, 0


def _refuse_detached(path: Path) -> None:
    """Refuse headers that name another file for the voxels: that may be any file of this machine."""
    for name, value in _header(path)[0]:
        if name in (b"datafile", b"elementdatafile") and value != b"local":
            raise InputError("its voxels are in another file; save it as one file")


def _refuse_damaged(path: Path, reader: sitk.ImageFileReader) -> None:
    """Refuse compressed voxels that are not whole: ITK gives noise instead, in any shape that is claimed."""
    pairs, start = _header(path)
    fields = dict(pairs)
    zipped = fields.get(b"encoding") in (b"gz", b"gzip") or fields.get(b"compresseddata") in (b"true", b"1")
    if not start or not zipped or {b"byteskip", b"lineskip"} & set(fields):
        return
    one = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID(), reader.GetNumberOfComponents())
    voxel = one.GetSizeOfPixelComponent() * reader.GetNumberOfComponents()
    with open(path, "rb") as file:
        file.seek(start)
        refuse_damaged(file, math.prod(reader.GetSize()) * voxel)


def _open(path: Path) -> sitk.ImageFileReader:
    _refuse_detached(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with decoding():
        reader.ReadImageInformation()
    if reader.GetDimension() not in (2, 3):
        raise InputError(f"it has {reader.GetDimension()} dimensions; an image has 2 or 3")
    return reader


def write(image: Image, path: Path) -> None:
    """Write NRRD or MHA, compressed."""
    array, geometry = image.in_file_order()
    vector = array.shape[0] > 1
    file = sitk.GetImageFromArray(np.moveaxis(array, 0, -1) if vector else array[0], isVector=vector)
    place = image.provenance.header if image.provenance and image.provenance.format == "itk" else None
    if place is None or place.grid(geometry.shape).difference(geometry):
        place = _Place.of(geometry)
    file.SetSpacing(place.spacing)
    file.SetOrigin(place.origin)
    file.SetDirection(place.direction)
    try:
        with _quiet():
            sitk.WriteImage(file, str(path), useCompression=True)
    except RuntimeError as error:
        raise OSError("the disk is full or the folder may not be written") from error


@contextmanager
def decoding() -> Iterator[None]:
    """Turn ITK's complaints into one that is not about its sources."""
    try:
        with _quiet():
            yield
    except RuntimeError as error:
        raise ValueError("SimpleITK cannot decode it") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the process's stderr: ITK's readers complain there, past any handler, and then raise too."""
    with _stderr, open(os.devnull, "wb") as sink:
        try:
            kept = os.dup(2)
        except OSError:  # a windowed program without stderr
            yield
            return
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
