"""The largest connected component of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def keep_largest(mask: NDArray[Any]) -> None:
    """Turn all but the largest connected component of every label value into background, in place.

    Voxels that share a face, an edge or a corner are connected. Of components of one size the first stays.

    Parameters
    ----------
    mask : array of unsigned int, any number of axes
        Label values, 0 is background.
    """
    structure = np.ones((3,) * mask.ndim, dtype=bool)
    for value, box in enumerate(ndimage.find_objects(mask), start=1):
        if box is None:
            continue
        region = mask[box]
        components, count = ndimage.label(region == value, structure)
        if count > 1:
            sizes = np.bincount(components.ravel())
            largest = int(sizes[1:].argmax()) + 1
            region[(components != largest) & (components != 0)] = 0
