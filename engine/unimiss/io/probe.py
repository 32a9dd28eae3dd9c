"""Where an image's voxels lie, from its header alone: nothing is decoded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from unimiss.geometry import Geometry
from unimiss.io import dicom, itk, nifti, picture, tiff
from unimiss.io.files import readable_suffix, sentences

_GRIDS: dict[str, Callable[[Path], Geometry]] = {
    ".nii.gz": nifti.grid,
    ".nii": nifti.grid,
    ".nrrd": itk.grid,
    ".mha": itk.grid,
    ".png": picture.grid,
    ".jpg": picture.grid,
    ".jpeg": picture.grid,
    ".gif": picture.grid,
    ".tif": tiff.grid,
    ".tiff": tiff.grid,
    **dict.fromkeys(dicom.SUFFIXES, dicom.grid),
}


def probe(path: Path | str) -> Geometry:
    """Grid of an image in anatomical order, as `read` would give it.

    Raises
    ------
    InputError
        The file is missing or of an unknown kind, or its header is damaged.
    """
    path = Path(path)
    with sentences(path):
        stored = _GRIDS[readable_suffix(path)](path)
        return stored.reoriented(stored.to_anatomical())
