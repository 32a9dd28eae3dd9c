"""Random views as one makes them at first: the baseline of `loader.py`.

Every sample decodes its file. Views are numpy and SciPy, a loop over slices, one change after the other, in
the float64 that nibabel and numpy give, until the view is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

Array = NDArray[np.floating]
Rng = np.random.Generator


@dataclass(frozen=True)
class Chances:
    """Of what changes one of the two views; blur, scale, shift and gamma."""

    blur: float
    scale: float
    shift: float
    gamma: float


CHANCES = (Chances(0.8, 0.8, 0.8, 0.8), Chances(0.5, 1.0, 0.5, 1.0))


def volume(path: Path) -> Array:
    """CT of a NIfTI file (1, depth, height, width): feet to head, front to back, right to left; HU / 1024."""
    data = nibabel.as_closest_canonical(nibabel.load(path)).get_fdata()[::-1, ::-1].T
    return np.clip(data, -1024, 3071)[None] / 1024


def picture(path: Path) -> Array:
    """Radiograph of a PNG file (1, height, width): its percentiles 0.5 and 99.5 become 0 and 1."""
    pixels = np.asarray(Image.open(path).convert("L"), dtype=np.float32)
    low, high = np.percentile(pixels, (0.5, 99.5))
    return ((np.clip(pixels, low, high) - low) / (high - low)).astype(np.float32)[None]


def volume_views(volume: Array, size: tuple[int, int, int], rng: Rng) -> list[Array]:
    """Two views of one neighbourhood, each (1, *size)."""
    depth, height, width = size
    block = crop(
        volume[0], (depth * 3 // 2, *(round(n * rng.uniform(1.4, 1.8)) for n in (height, width))), rng
    )
    views = []
    for chances in CHANCES:
        part = crop(block, (depth, *(round(n * rng.uniform(0.8, 1.2)) for n in (height, width))), rng)
        view = np.stack([resize(plane, (height, width)) for plane in part])
        for axis in range(3):
            if rng.random() < 0.8:
                view = np.flip(view, axis)
        views.append(change(view, chances, rng)[None].astype(np.float32))
    return views


def crop(array: Array, size: tuple[int, ...], rng: Rng) -> Array:
    """Part of a size, or as large as there is room, from anywhere."""
    size = tuple(np.minimum(array.shape, size))
    starts = [rng.integers(n - part + 1) for n, part in zip(array.shape, size, strict=True)]
    return array[tuple(slice(start, start + n) for start, n in zip(starts, size, strict=True))]


def resize(plane: Array, size: tuple[int, int]) -> Array:
    """Bilinear, over the same extent."""
    return zoom(plane, np.divide(size, plane.shape), order=1, mode="nearest", grid_mode=True)


def change(view: Array, chances: Chances, rng: Rng) -> Array:
    """Change values: noise in all slices, the rest drawn slice by slice."""
    view = view + rng.normal(0, rng.uniform(0, 0.1), view.shape)
    blurred, scaled, shifted, bent = rng.random(4) < (0.8, chances.scale, chances.shift, chances.gamma)
    for i in range(len(view)):
        if blurred and rng.random() < chances.blur:
            view[i] = gaussian_filter(view[i], rng.uniform(0.1, 2))
        if scaled:
            view[i] *= rng.uniform(0.75, 1.25)
        if shifted and rng.random() < 0.8:
            view[i] += rng.normal(0, 0.4)
        view[i] = contrast(view[i], rng.uniform(0.75, 1.25))
        if bent:
            view[i] = gamma(view[i], rng.uniform(0.7, 1.5))
    return view


def contrast(plane: Array, factor: float) -> Array:
    """Stretch about the mean, within the range."""
    mean = plane.mean()
    return np.clip((plane - mean) * factor + mean, plane.min(), plane.max())


def gamma(plane: Array, exponent: float) -> Array:
    """Bend within the range, then give mean and spread back."""
    low, extent = plane.min(), np.ptp(plane)
    bent = ((plane - low) / (extent + 1e-7)) ** exponent
    return (bent - bent.mean()) / (bent.std() + 1e-7) * plane.std() + plane.mean()
