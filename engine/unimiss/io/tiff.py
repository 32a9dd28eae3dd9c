"""TIFF of one page, by Pillow, which refuses pictures large enough to be an attack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import TiffTags

from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.io import picture
from unimiss.io.image import Image

_TAGS = {tag.name: number for number, tag in TiffTags.TAGS_V2.items()}
_WHITE_IS_ZERO = 0
_FEWEST_SLICES = 8  # pages of one size from which on they are a volume, and not a picture and its previews
_WHOLE_NUMBERS = 1


def read(path: Path) -> Image:
    """Read a grey picture of 8 or 16 bit, or an RGB one of 8, upright, as ``(1 or 3, height, width)``.

    Raises
    ------
    InputError
        The file has several pages or other values.
    """
    with picture.opened(path, ("TIFF",)) as file:
        inverted = _checked(file)
        image = picture.as_image(file, path)
    if not inverted:
        return image
    return image.with_array(np.iinfo(image.array.dtype).max - image.array)


def grid(path: Path) -> Geometry:
    """Grid of the upright picture; reads the header only."""
    with picture.opened(path, ("TIFF",)) as file:
        _checked(file)
        return picture.upright_grid(file)


def _checked(file: Pillow.Image) -> bool:
    """Refuse what is not one picture of 8 or 16 bit; say whether its 16-bit values have to be inverted."""
    pages = getattr(file, "n_frames", 1)
    tags = getattr(file, "tag_v2", {})
    if pages > 1:
        volume = pages >= _FEWEST_SLICES and _same_size(file, pages)
        raise InputError(
            f"its {pages} pages are a volume that does not say how large a voxel is; "
            "save it as NIfTI, NRRD or MHA with its voxel size"
            if volume
            else f"it has {pages} pages; save the one you mean as a TIFF of its own"
        )
    bits = tags.get(_TAGS["BitsPerSample"], (1,))
    kinds = tags.get(_TAGS["SampleFormat"], (_WHOLE_NUMBERS,))
    deep = max(bits)
    if set(kinds) != {_WHOLE_NUMBERS} or deep not in (1, 8, 16) or (deep == 16 and len(bits) > 1):
        raise InputError(
            f"it has {len(bits)} samples of {deep} bits a pixel; save it as grey of 8 or 16 bit, or as RGB"
        )
    # Pillow turns 8 bit round by itself, and 16 bit not.
    return bool(deep == 16 and tags.get(_TAGS["PhotometricInterpretation"]) == _WHITE_IS_ZERO)


def _same_size(file: Pillow.Image, pages: int) -> bool:
    size = file.size
    file.seek(pages - 1)
    return bool(file.size == size)
