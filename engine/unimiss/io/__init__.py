"""Files to images and back. `read` and `write` are the doors; the suffix decides the format."""

from unimiss.io.dicom import Series, series_in
from unimiss.io.files import (
    IMAGE_SUFFIXES,
    files_of,
    is_dicom,
    is_image,
    read,
    suffix_of,
    writable_suffix,
    write,
)
from unimiss.io.image import Image, Provenance

__all__ = [
    "IMAGE_SUFFIXES",
    "Image",
    "Provenance",
    "Series",
    "files_of",
    "is_dicom",
    "is_image",
    "read",
    "series_in",
    "suffix_of",
    "writable_suffix",
    "write",
]
