"""DICOM, by pydicom: series of slices, multi-frame objects and radiographs; nothing personal leaves it."""

from unimiss.io.dicom.headers import SUFFIXES, Identity, has_magic, identify
from unimiss.io.dicom.reading import grid, read, slices
from unimiss.io.dicom.segmentation import require_source, write
from unimiss.io.dicom.series import Series, files_of, holds_dicom, identity_of, series_in

__all__ = [
    "SUFFIXES",
    "Identity",
    "Series",
    "files_of",
    "grid",
    "has_magic",
    "holds_dicom",
    "identify",
    "identity_of",
    "read",
    "require_source",
    "series_in",
    "slices",
    "write",
]
