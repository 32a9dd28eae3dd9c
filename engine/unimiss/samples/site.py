"""Places in a body, with what every part of the anatomy asks about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unimiss.samples.patient import Patient
from unimiss.samples.shapes import Floats, ramp, superellipsoid, union


@dataclass(frozen=True, eq=False)
class Site:
    """A set of points in one patient's body, and the trunk's inner surfaces and textures there.

    Attributes
    ----------
    patient : Patient
        Whose body.
    points : array, shape (3, N)
        Places in the average body, mm, in the order ``z, y, x``.
    wall : array, shape (N,)
        Distance to the rib cage and, below it, the abdominal wall, mm; negative inside.
    roof : array, shape (N,)
        Distance to the space under the diaphragm, mm; negative below it.
    fine, medium : array, shape (N,)
        Textures, of mean 0 and standard deviation 1.
    """

    patient: Patient
    points: Floats
    wall: Floats
    roof: Floats
    fine: Floats
    medium: Floats

    @classmethod
    def at(cls, patient: Patient, points: Floats) -> Site:
        """Evaluate surfaces and textures at `points` of the body, shape (3, N)."""
        z, y, x = points
        # The ribs run forward to the spine, so the lungs lie on both sides of it.
        dent = 30 * np.exp(-((x / 30) ** 2)) * ramp(y, -10, 30)
        offset = np.stack([np.maximum(z, 0), y + 4 + dent, x])
        wall = superellipsoid(offset, patient.chest, 2.3)
        roof = np.float32(0.7) * (z - _diaphragm(patient, y, x))  # it slopes: nearer than it is high
        return cls(patient, points, wall, roof, patient.fine(points), patient.medium(points))


def _diaphragm(patient: Patient, y: Floats, x: Floats) -> Floats:
    """Height of the two domes: the right one higher, both low at the back and steep at the sides."""
    back, front = np.maximum(y + 8, 0) / 95, np.maximum(-y - 30, 0) / 60
    fall = 72 * back**2 + 16 * front**2 + 34 * (x / patient.chest[2]) ** 6
    right = np.square((x + 62) / 14)
    left = np.square((x - 66) / 14) + 11
    return np.asarray(patient.dome - union(right, left, 24) - fall)
