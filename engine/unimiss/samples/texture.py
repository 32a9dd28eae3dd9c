"""Random fields that are fixed in the body, so that every scan of a patient shows the same texture."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from unimiss.samples.shapes import Floats

_SIZE = 48
_SMOOTHNESS = 1.5


class Field:
    """Smooth random function of place with mean 0 and standard deviation 1, periodic far apart.

    Parameters
    ----------
    random : Generator
        Source of the values.
    length : float
        Distance in millimetres over which values resemble each other.
    """

    def __init__(self, random: np.random.Generator, length: float) -> None:
        lattice = ndimage.gaussian_filter(random.standard_normal((_SIZE,) * 3), _SMOOTHNESS, mode="wrap")
        self._lattice = (lattice / lattice.std()).astype(np.float32)
        self._step = np.float32(length / _SMOOTHNESS)

    def __call__(self, points: Floats, shift: float = 0.0) -> Floats:
        """Values at `points`, shape (N,); another `shift` (mm) gives an unrelated function."""
        index = (points + np.float32(shift)) / self._step
        values = ndimage.map_coordinates(self._lattice, index, np.float32, order=1, mode="grid-wrap")
        return np.asarray(values)
