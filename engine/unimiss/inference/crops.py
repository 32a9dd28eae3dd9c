"""Ten views of a flat image: corners and middle of a larger one, and their mirror images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unimiss.data.preprocessing import Preprocessing
from unimiss.errors import InputError
from unimiss.io import Image

_LARGER = 256 / 224  # the sizes that ImageNet's networks made usual: the image's side over the crop's


def ten_crops(preprocessing: Preprocessing, image: Image) -> NDArray[np.float32]:
    """Prepare an image at 256/224 of the network's size, and cut its four corners and its middle out.

    Returns
    -------
    array, shape (10, channels, *size)
        Top left, top right, bottom left, bottom right, middle; then these mirrored from left to right.
    """
    height, width = flat_size(preprocessing)
    size = round(height * _LARGER), round(width * _LARGER)
    large = preprocessing.model_copy(update={"size": size}).prepare(image)
    down, right = size[0] - height, size[1] - width
    corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    crops = np.stack([large[:, y : y + height, x : x + width] for y, x in corners])
    return np.concatenate([crops, crops[..., ::-1]])


def flat_size(preprocessing: Preprocessing) -> tuple[int, int]:
    """Height and width of the network's input; crops of other networks than for flat images are refused."""
    if preprocessing.size is None or len(preprocessing.size) != 2:
        raise InputError("ten crops are taken of flat images, and this model takes volumes; leave them out")
    return preprocessing.size
