"""PNG, JPEG and GIF, by Pillow: radiographs, flat masks and other pictures."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, ImageOps
from PIL import Image as Pillow

from unimiss.errors import InputError
from unimiss.geometry import Geometry, Reorientation
from unimiss.io.image import Image, Provenance

_FORMATS = ("PNG", "JPEG", "GIF")


def read(path: Path) -> Image:
    """Read a picture as ``(1 or 3, height, width)``, turned upright by its EXIF tag; transparency is dropped.

    Grey keeps its 8 or 16 bit, colour has 8. A picture does not say how large its pixels are, so the
    geometry's units are "pixel".
    """
    with opened(path, _FORMATS) as file:
        return as_image(file, path)


def grid(path: Path) -> Geometry:
    """Grid of the upright picture; reads the header only."""
    with opened(path, _FORMATS) as file:
        return upright_grid(file)


def as_image(file: Pillow.Image, path: Path) -> Image:
    """Decode an opened picture, upright and without transparency."""
    if file.format == "GIF" and getattr(file, "n_frames", 1) > 1:
        raise InputError("it is a film of several pictures; save the one you mean")
    upright = ImageOps.exif_transpose(file)
    if upright.mode in ("P", "PA"):
        upright = upright.convert("RGB")
    elif upright.mode == "1":
        upright = upright.convert("L")
    if upright.mode in ("CMYK", "YCbCr"):
        raise InputError(f"it has {upright.mode} colours; save it as grey or RGB")
    data = np.array(upright)
    array = np.moveaxis(data, -1, 0) if data.ndim == 3 else data[None]
    if upright.mode in ("LA", "RGBA"):
        array = array[:-1]
    geometry = Geometry.from_spacing(array.shape[1:], units="pixel")
    return Image(array, geometry, Provenance(path, "picture", Reorientation.identity(2)))


def upright_grid(file: Pillow.Image) -> Geometry:
    """Grid of an opened picture once it is upright."""
    turned = file.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    return Geometry.from_spacing(file.size if turned else file.size[::-1], units="pixel")


@contextmanager
def opened(path: Path, formats: tuple[str, ...]) -> Iterator[Pillow.Image]:
    """Open a picture without warnings; one of so many pixels that it may be an attack is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Pillow.DecompressionBombWarning)
        try:
            with Pillow.open(path, formats=formats) as file:
                yield file
        except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
            raise InputError(f"it has more than {Pillow.MAX_IMAGE_PIXELS} pixels; make it smaller") from error


def write(image: Image, path: Path) -> None:
    """Write a PNG: whole numbers of 8 or 16 bit, grey or RGB."""
    array = image.array
    if image.geometry.ndim != 2:
        raise InputError(f"a PNG holds one flat picture, not {image.geometry.shape} voxels")
    if image.channels not in (1, 3):
        raise InputError(f"a PNG holds 1 or 3 channels, not {image.channels}")
    if array.dtype.kind not in "iu":
        raise InputError(f"a PNG holds whole numbers from 0 to 65535, not {array.dtype} values")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > (255 if image.channels == 3 else 65535):
        raise InputError(f"a PNG of {image.channels} channels cannot hold values from {low} to {high}")
    data = array.astype(np.uint8 if high <= 255 else np.uint16)
    pixels = np.moveaxis(data, 0, -1) if image.channels == 3 else data[0]
    Pillow.fromarray(np.ascontiguousarray(pixels)).save(path, format="PNG")
