"""Files to images and back. `read` and `write` are the doors; the suffix decides the format."""

from unimiss.io.files import IMAGE_SUFFIXES, read, suffix_of, writable_suffix, write
from unimiss.io.image import Image, Provenance

__all__ = ["IMAGE_SUFFIXES", "Image", "Provenance", "read", "suffix_of", "writable_suffix", "write"]
