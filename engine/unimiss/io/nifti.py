"""NIfTI, by nibabel."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import nibabel
import nibabel.imageglobals
import numpy as np

from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.io.image import Image, Provenance

_log = logging.getLogger(__name__)
nibabel.imageglobals.logger.setLevel(logging.CRITICAL)  # its own handler prints header details on stderr

_PIECE = 2**20  # bytes
_NIFTI1_LIMIT = 32767  # voxels along one axis


def read(path: Path) -> Image:
    """Read a NIfTI file: 2-D as a radiograph, 3-D as a volume, 4-D (and 5-D vectors) as its channels.

    Values that the header scales become float32.
    """
    file = _open(path)
    header = file.header.copy()
    data = _voxels(file, path)
    if data.dtype == np.float64 != file.get_data_dtype().newbyteorder("="):
        data = data.astype(np.float32)
    stored = _grid(header)
    if stored.ndim == 3 and header["sform_code"] == 0 and header["qform_code"] == 0:
        _log.warning("%s does not say how it lies in the patient; left and right are unknown", path.name)
    channels = data.reshape(*stored.shape[::-1], -1)
    change = stored.to_anatomical()
    return Image(
        change.apply(channels.T), stored.reoriented(change), Provenance(path, "nifti", change, header)
    )


def _voxels(file: nibabel.Nifti1Image, path: Path) -> np.ndarray:
    """Decode the voxels; of a compressed file to its very end, where the check sum is."""
    if path.suffix.lower() != ".gz":
        return np.asarray(file.dataobj)
    with gzip.open(path) as stream:
        data = np.asarray(type(file).from_stream(stream).dataobj)
        while stream.read(_PIECE):
            pass
    return data


def grid(path: Path) -> Geometry:
    """Grid of the file's array as it is stored, slowest axis first; reads the header only."""
    return _grid(_open(path).header)


def _open(path: Path) -> nibabel.Nifti1Image:
    file = nibabel.load(path, mmap=False)  # a mapped file could not be replaced, or change under the array
    if not isinstance(file, (nibabel.Nifti1Image, nibabel.Nifti2Image)):
        raise InputError(f"it is not a NIfTI image but a {type(file).__name__}")
    if not 2 <= len(file.shape) <= 5:
        raise InputError(f"it has {len(file.shape)} dimensions; an image has 2 to 5")
    return file


def write(image: Image, path: Path) -> None:
    """Write NIfTI with the source's header, codes and axis order where it was one, else in LPS+ order."""
    array, geometry = image.in_file_order()
    if array.dtype in (np.int64, np.uint64):
        array = _narrowed(array)
    data = array.T  # (C, k, j, i) -> (i, j, k, C)
    if image.channels == 1:
        data = data[..., 0]
    elif geometry.ndim == 2:
        data = data[:, :, None, None]
    source = image.provenance.header if image.provenance and image.provenance.format == "nifti" else None
    if source is not None and _grid(source).difference(geometry):
        source = None  # the image was put on another grid since it was read
    long = isinstance(source, nibabel.Nifti2Header) or max(data.shape) > _NIFTI1_LIMIT
    kind = nibabel.Nifti2Image if long else nibabel.Nifti1Image
    affine = None
    if geometry.ndim == 3:  # with its own affine nibabel leaves a header's position fields as they are
        affine = geometry.to_nifti() if source is None else source.get_best_affine()
    file = kind(data, affine, source)
    header = file.header
    if source is None and geometry.ndim == 3:
        header.set_xyzt_units("mm")
        file.set_sform(affine, 1)
        file.set_qform(affine, 1)
    elif source is None:
        header.set_xyzt_units("mm" if geometry.units == "mm" else "unknown")
        header["pixdim"][1:3] = geometry.spacing[::-1]
    header.set_data_dtype(data.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0  # the source's display window and meaning fit no mask
    header.set_intent("none")
    nibabel.save(file, path)


def _grid(header: nibabel.Nifti1Header) -> Geometry:
    """Grid of the file's array, slowest axis first; a file without third and fourth axis is a radiograph."""
    shape = header.get_data_shape()
    unit = int(header["xyzt_units"]) & 7
    millimetres = {1: 1000.0, 3: 0.001}.get(unit, 1.0)  # metres, micrometres; an unknown unit is taken as mm
    if len(shape) == 2 or (len(shape) == 5 and shape[2:4] == (1, 1)):
        spacing = np.array(header.get_zooms()[1::-1], dtype=float) * millimetres
        sized = unit != 0 or not (spacing == 1).all()
        return Geometry.from_spacing(shape[1::-1], spacing.tolist(), "mm" if sized else "pixel")
    affine = header.get_best_affine()
    affine[:3] *= millimetres
    return Geometry.from_nifti(shape[:3], affine)


def _narrowed(array: np.ndarray) -> np.ndarray:
    """As int32: few programs read NIfTI files of 64-bit integers."""
    low, high = int(array.min()), int(array.max())
    bounds = np.iinfo(np.int32)
    if low < bounds.min or high > bounds.max:
        raise InputError(f"NIfTI holds whole numbers of 32 bit; values from {low} to {high} do not fit")
    return array.astype(np.int32)
