"""A frontal radiograph of a made-up person, by projection."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.io import Image
from unimiss.samples.anatomy import Anatomy
from unimiss.samples.patient import generator
from unimiss.samples.scan import sample
from unimiss.samples.shapes import Floats

_SIDE = 380.0  # mm, height and width of the film
_LOWER_EDGE = -160.0  # mm, its height in the world
_DEPTH = 248.0  # mm of space that the beam crosses
_SAMPLING = (2.0, 4.0, 2.0)  # mm, down the film, along the beam and across the film
_WATER = 0.0165  # attenuation per mm at the energy of a chest film
_BONE = 1.6  # how much more calcium attenuates than its Hounsfield units say
_PHOTONS = 2e4  # that reach a pixel where nothing is in the way
_SCATTER = 0.3  # share of the light that arrives spread out over centimetres


def radiograph(seed: int, *, shape: tuple[int, int] = (256, 256)) -> Image:
    """Take a frontal radiograph of the person whom `torso` scans under the same seed.

    Parameters
    ----------
    seed : int
        Which person, from 0.
    shape : tuple of int
        Rows and columns; the picture covers 380 x 380 mm.

    Returns
    -------
    Image
        uint8, ``(1, height, width)``, head up, the patient's left on the right; spacing in mm.
    """
    if len(shape) != 2 or min(shape) < 16:
        raise InputError(f"a radiograph needs at least 16 rows and 16 columns, found {shape}")
    film = Geometry.from_spacing(shape, [_SIDE / size for size in shape])
    return Image(_develop(_attenuation(seed), film, generator(seed, "detector"))[None], film)


def _attenuation(seed: int) -> Floats:
    """Line integrals from front to back, head up, on the sampling grid."""
    shape = np.rint(np.divide((_SIDE, _DEPTH, _SIDE), _SAMPLING)).astype(int)
    down, along, across = _SAMPLING
    matrix = np.diag([-down, along, across, 1])
    matrix[:3, 3] = (_LOWER_EDGE + _SIDE - down / 2, (along - _DEPTH) / 2, (across - _SIDE) / 2)
    hu, _ = sample(Anatomy(seed), Geometry(tuple(shape), matrix))
    calcium = np.maximum(hu - 150, 0)
    return np.asarray((1 + (hu + _BONE * calcium) / 1000).sum(1) * np.float32(_WATER * along))


def _develop(attenuation: Floats, film: Geometry, random: np.random.Generator) -> NDArray[np.uint8]:
    """Expose a detector with counting noise and show it as films are shown: bright where little arrives."""
    factors = np.divide(film.shape, attenuation.shape)
    fine = ndimage.zoom(attenuation, factors, order=3, grid_mode=True, mode="nearest")
    light = np.exp(-np.maximum(fine, 0))
    veil = ndimage.gaussian_filter(light, [25 / size for size in film.spacing])
    counts = random.poisson(_PHOTONS * ((1 - _SCATTER) * light + _SCATTER * veil))
    density = -np.log((counts + 1) / _PHOTONS)
    base = ndimage.gaussian_filter(density, [12 / size for size in film.spacing])
    density = 0.8 * base + 2.0 * (density - base)
    # Anatomy decides the exposure, not the bright air around it.
    low, high = np.percentile(density[density > 0.25 * density.max()], (1, 99.5))
    tone = 1 / (1 + np.exp(-4.5 * ((density - low) / (high - low) - 0.5)))
    black, white = 1 / (1 + np.exp(2.25 + 0.6)), 1 / (1 + np.exp(-2.25 - 0.2))
    return np.asarray(np.rint(255 * np.clip((tone - black) / (white - black), 0, 1)), dtype=np.uint8)
