"""Computed tomography of a made-up person, with the labels of the organs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unimiss.errors import InputError
from unimiss.geometry import Geometry, Reorientation
from unimiss.io import Image, Provenance
from unimiss.samples.anatomy import ORGANS, Anatomy
from unimiss.samples.patient import generator
from unimiss.samples.shapes import Floats

_EXTENT = np.array([330.0, 260.0, 380.0])
_TILT = np.array([0.4, 0.25, 0.88])  # axis of an oblique scan: mostly nodding, a little of the rest
_LETTERS = ("SI", "PA", "LR")  # up and down each axis of the world
_CHUNK = 1 << 15  # points at once: they stay in the processor's cache


@dataclass(frozen=True, eq=False)
class Torso:
    """A scan and its reference.

    Attributes
    ----------
    image : Image
        int16 Hounsfield units, ``(1, depth, height, width)``.
    labels : Image
        uint8 on the same grid, keys of `ORGANS`.
    """

    image: Image
    labels: Image


def torso(
    seed: int,
    *,
    spacing: tuple[float, float, float] = (5.0, 3.0, 3.0),
    orientation: str = "SPL",
    oblique_degrees: float = 0.0,
) -> Torso:
    """Scan the chest and upper abdomen of a made-up person.

    One seed is one person: other spacings and orientations show the same tissue at the same place in the
    world. The same arguments give the same bytes.

    Parameters
    ----------
    seed : int
        Which person, from 0.
    spacing : tuple of float
        Millimetres between slices, rows and columns in anatomical order; the field of view is
        330 x 260 x 380 mm.
    orientation : str
        Three letters of S/I, P/A and L/R: where each axis of the array points in the file that
        `unimiss.write` makes. The arrays here are in anatomical order whatever it is.
    oblique_degrees : float
        Tilt of the scanner against the patient, at most 30.

    Returns
    -------
    Torso
        Image and labels.
    """
    change = _from_file(orientation)
    geometry = _grid(spacing, oblique_degrees)
    hu, labels = sample(Anatomy(seed), geometry)
    hu += _noise(seed, geometry)
    provenance = Provenance(None, "nifti", change)
    values = np.rint(np.clip(hu, -1024, 3071)).astype(np.int16)
    return Torso(
        Image(values[None], geometry, provenance),
        Image(labels[None], geometry, provenance, ORGANS),
    )


def sample(anatomy: Anatomy, geometry: Geometry) -> tuple[Floats, NDArray[np.uint8]]:
    """Hounsfield units (float32, without noise) and labels (uint8) at every voxel of a grid."""
    count = int(np.prod(geometry.shape))
    softness = float(np.mean(geometry.spacing))
    hu, labels = np.empty(count, dtype=np.float32), np.empty(count, dtype=np.uint8)
    matrix = geometry.matrix
    for start in range(0, count, _CHUNK):
        part = slice(start, min(start + _CHUNK, count))
        index = np.unravel_index(np.arange(part.start, part.stop), geometry.shape)
        world = sum(matrix[:3, axis, None] * index[axis] for axis in range(3)) + matrix[:3, 3, None]
        hu[part], labels[part] = anatomy(np.asarray(world, dtype=np.float32), softness)
    return hu.reshape(geometry.shape), labels.reshape(geometry.shape)


def _grid(spacing: tuple[float, float, float], oblique_degrees: float) -> Geometry:
    """Grid of the field of view, centred on the world's origin and turned about it."""
    if not abs(oblique_degrees) <= 30:
        raise InputError(f"oblique_degrees must lie between -30 and 30, found {oblique_degrees}")
    checked = Geometry.from_spacing((1, 1, 1), spacing)
    shape = np.maximum(np.rint(_EXTENT / checked.spacing), 1).astype(int)
    angle = np.deg2rad(oblique_degrees)
    k = _TILT / np.linalg.norm(_TILT)
    cross = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (np.outer(k, k) - np.eye(3))
    matrix[:3, :3] *= checked.spacing
    matrix[:3, 3] = -(matrix[:3, :3] * ((shape - 1) / 2)).sum(1)
    return Geometry(tuple(shape), matrix)


def _from_file(orientation: str) -> Reorientation:
    """Return the change from a file whose array axes point along these letters to anatomical order."""
    letters = orientation.upper()
    found = [[letters.find(letter) for letter in pair] for pair in _LETTERS]
    if len(letters) != 3 or any(sorted(pair)[0] != -1 or max(pair) == -1 for pair in found):
        raise InputError(
            f"an orientation is one letter each of S/I, P/A and L/R, such as SPL, found {orientation!r}"
        )
    return Reorientation(tuple(max(pair) for pair in found), tuple(pair[0] == -1 for pair in found))


def _noise(seed: int, geometry: Geometry) -> Floats:
    """Scanner noise: grainy within a slice, independent between slices."""
    random = generator(seed, "scanner")
    grain = random.standard_normal(geometry.shape, dtype=np.float32)
    grain = ndimage.gaussian_filter(grain, (0, 0.6, 0.6))
    return np.asarray(grain * np.float32(random.uniform(8, 18) / grain.std()))
