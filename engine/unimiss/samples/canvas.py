"""Tissues painted one over the other, with the soft edges of partial volume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unimiss.samples.shapes import Floats

AIR = -1000.0


class Canvas:
    """Hounsfield units and labels of a set of points; what is painted last lies on top.

    Parameters
    ----------
    count : int
        Number of points.
    softness : float
        Width in millimetres over which an edge blends into what lies behind it: about a voxel.
    """

    def __init__(self, count: int, softness: float) -> None:
        self.hu = np.full(count, AIR, dtype=np.float32)
        self.labels = np.zeros(count, dtype=np.uint8)
        self._sharpness = np.float32(1 / softness)

    def paint(self, distance: Floats, hu: NDArray[np.floating] | float, label: int | None = 0) -> None:
        """Fill a shape.

        Parameters
        ----------
        distance : array, shape (N,)
            Negative inside.
        hu : array, shape (N,), or float
            Its tissue.
        label : int or None
            Its label; None for a part of an organ, which keeps the organ's.
        """
        cover = np.clip(np.float32(0.5) - distance * self._sharpness, 0, 1)
        self.hu += cover * (hu - self.hu)
        if label is not None:
            self.labels[distance < 0] = label
