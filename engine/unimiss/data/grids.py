"""Whether files of one case lie on one grid, and if not, how they differ."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from unimiss.geometry import Geometry

_RELATIVE = 1e-3  # of spacings
_ANGLE = 1e-3  # radians


def mismatch(image: Geometry, other: Geometry) -> str | None:
    """Say how a grid differs from an image's, or None where voxels lie on voxels.

    Volumes may lie a hundredth of their smallest spacing apart, for files store positions in single
    precision. Of flat pictures only the size counts: few files know how large their pixels are.
    """
    difference = image.difference(other)
    if difference is None or image.shape != other.shape:
        return difference
    if image.ndim == 2:
        return None
    if not np.allclose(image.spacing, other.spacing, rtol=_RELATIVE, atol=0):
        return f"its spacing is {_numbers(other.spacing)}, not {_numbers(image.spacing)}"
    turned, straight = (grid.matrix[:-1, :-1] / np.array(grid.spacing) for grid in (other, image))
    if not np.allclose(turned, straight, rtol=0, atol=_ANGLE):
        return "its axes point in other directions"
    places = [_numbers(grid.to_world([0, 0, 0])) for grid in (other, image)]
    return f"its first voxel lies at {places[0]} mm, not {places[1]}"


def _numbers(values: Iterable[float]) -> str:
    return " x ".join(f"{value:.6g}" for value in values)
