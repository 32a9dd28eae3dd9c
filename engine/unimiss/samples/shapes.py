"""Solid shapes as distances: negative inside, positive outside, about millimetres near the surface.

Points are arrays of shape ``(3, N)``, float32, in millimetres and in the order ``z, y, x``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Triple = Sequence[float] | NDArray[np.floating]


def column(values: Triple) -> Floats:
    """Three numbers as a float32 column that combines with points."""
    return np.asarray(values, dtype=np.float32).reshape(3, 1)


def superellipsoid(offset: Floats, radii: Floats, exponent: float = 2.0) -> Floats:
    """Distance to ``sum(|offset / radii| ** exponent) = 1``, to first order.

    Parameters
    ----------
    offset : array, shape (3, N)
        Points relative to the centre.
    radii : array, shape (3, 1) or (3, N)
        Half axes; they may vary slowly from point to point.
    exponent : float
        2 is an ellipsoid, more is boxier.
    """
    ratio = np.abs(offset / radii)
    power = ratio if exponent == 2 else ratio ** np.float32(exponent - 1)
    value = (ratio * power).sum(0) - 1
    slope = np.sqrt(((power / radii) ** 2).sum(0)) * np.float32(exponent)
    return np.asarray(value / np.maximum(slope, 1e-4), dtype=np.float32)


def ellipsoid(points: Floats, centre: Triple, radii: Triple, axes: Floats | None = None) -> Floats:
    """Distance to an ellipsoid; the rows of `axes`, shape (3, 3), are the directions of its `radii`."""
    offset = points - column(centre)
    if axes is not None:
        offset = np.stack([sum_of_products(axis, offset) for axis in axes])
    return superellipsoid(offset, column(radii))


def capsule(points: Floats, start: Triple, end: Triple, radius: float) -> Floats:
    """Distance to a round rod between two points."""
    axis = column(end) - column(start)
    offset = points - column(start)
    along = np.clip(sum_of_products(axis[:, 0], offset) / float((axis**2).sum()), 0, 1)
    return np.asarray(np.sqrt(((offset - axis * along) ** 2).sum(0)) - radius, dtype=np.float32)


def tube(points: Floats, path: Sequence[Triple], radius: float) -> Floats:
    """Distance to a round rod along a polyline."""
    rods = [capsule(points, start, end, radius) for start, end in pairwise(path)]
    return np.asarray(np.minimum.reduce(rods))


def union(a: Floats, b: Floats, rounding: float) -> Floats:
    """Both shapes, with the crease between them filled over `rounding` millimetres."""
    near = np.maximum(rounding - np.abs(a - b), 0)
    return np.asarray(np.minimum(a, b) - near * near / np.float32(4 * rounding), dtype=np.float32)


def intersection(a: Floats, b: Floats, rounding: float) -> Floats:
    """Return what both shapes share, with its edge rounded."""
    return -union(-a, -b, rounding)


def sum_of_products(weights: Floats, offset: Floats) -> Floats:
    """``weights @ offset`` in a fixed order of additions, which a threaded product does not promise."""
    return np.asarray(weights[0] * offset[0] + weights[1] * offset[1] + weights[2] * offset[2])


def ramp(values: Floats, low: float, high: float) -> Floats:
    """Smooth step from 0 at `low` to 1 at `high`."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)
