"""Two random views of one image, for self-distillation (spec: UniMiSS, section "Pre-training").

Every draw comes from the generator that is passed in, so a view depends on seed, step and place in the
batch alone, whichever process makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from skimage.color import hsv2rgb, rgb2hsv
from torch import Tensor

from unimiss.data import intensity

Array = NDArray[np.float32]
Rng = np.random.Generator
Window = tuple[slice, ...]


@dataclass(frozen=True)
class _VolumeStyle:
    """Probabilities by which the two views of a volume differ."""

    blur_slice: float
    scale: float
    shift: float
    gamma: float


_VOLUME_STYLES = (_VolumeStyle(0.8, 0.8, 0.8, 0.8), _VolumeStyle(0.5, 1.0, 0.5, 1.0))


@dataclass(frozen=True)
class _PictureStyle:
    """Probabilities by which the two views of a radiograph differ."""

    grey: float
    blur: float


_PICTURE_STYLES = (_PictureStyle(0.8, 0.5), _PictureStyle(0.4, 1.0))


def volume_views(volume: Any, size: tuple[int, int, int], rng: Rng) -> Array:
    """Two views of one neighbourhood in a volume.

    Parameters
    ----------
    volume : array-like, shape (channels, depth, height, width)
        Read only where the views lie: a cached array is decompressed in part. One channel is drawn.
    size : tuple of int
        Depth, height and width of a view.
    rng : Generator
        Source of all draws.

    Returns
    -------
    array, float32, shape (2, 1, *size)
        Crops of 0.8 to 1.2 times the size in plane, limited by what there is, resized bilinearly.
    """
    channel = int(rng.integers(volume.shape[0])) if volume.shape[0] > 1 else 0
    whole = tuple(slice(0, n) for n in volume.shape[1:])
    around = (round(size[0] * 1.5), *(round(n * rng.uniform(1.4, 1.8)) for n in size[1:]))
    neighbourhood = _window(whole, around, rng)
    windows = [_window(neighbourhood, _crop_size(size, rng), rng) for _ in _VOLUME_STYLES]
    hull = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(*windows, strict=True))
    block = torch.from_numpy(np.ascontiguousarray(volume[(slice(channel, channel + 1), *hull)]))[0]
    views = torch.empty((2, 1, *size))
    for view, window, style in zip(views[:, 0], windows, _VOLUME_STYLES, strict=True):
        _make_volume_view(view, block[_relative(window, hull)], style, rng)
    return np.asarray(views.numpy())


def picture_views(picture: Any, size: tuple[int, int], rng: Rng, least_area: float = 0.14) -> Array:
    """Two views of a radiograph.

    Parameters
    ----------
    picture : array-like, shape (1 or 3, height, width)
        Values in [0, 1].
    size : tuple of int
        Height and width of a view.
    rng : Generator
        Source of all draws.
    least_area : float
        Smallest share of the picture that a view shows; the largest is all of it.

    Returns
    -------
    array, float32, shape (2, 3, *size)
    """
    pixels = np.asarray(picture[:], dtype=np.float32)
    return np.stack([_picture_view(pixels, size, style, rng, least_area) for style in _PICTURE_STYLES])


def _window(within: Window, wanted: tuple[int, ...], rng: Rng) -> Window:
    """Window of the wanted size, or as large as there is room, anywhere within another."""
    sizes = [min(w.stop - w.start, want) for w, want in zip(within, wanted, strict=True)]
    starts = [int(rng.integers(w.start, w.stop - n + 1)) for w, n in zip(within, sizes, strict=True)]
    return tuple(slice(start, start + n) for start, n in zip(starts, sizes, strict=True))


def _relative(window: Window, origin: Window) -> Window:
    return tuple(slice(w.start - o.start, w.stop - o.start) for w, o in zip(window, origin, strict=True))


def _crop_size(size: tuple[int, int, int], rng: Rng) -> tuple[int, ...]:
    return (size[0], *(max(2, round(n * rng.uniform(0.8, 1.2))) for n in size[1:]))


def _make_volume_view(view: Tensor, crop: Tensor, style: _VolumeStyle, rng: Rng) -> None:
    """Write into `view` (depth, height, width) what a crop looks like; all but the noise differs by slice."""
    resized = _resize(crop.float(), tuple(view.shape))
    mirrored = resized.flip([axis for axis in range(3) if rng.random() < 0.8])
    intensity.add_noise(mirrored, rng.uniform(0, 0.1), rng.random(), out=view)
    _change_values(view, style, rng)


def _resize(crop: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize (depth, height, width); where the depth stays, in plane alone, in a third of the time."""
    if len(crop) == size[0]:
        return F.interpolate(crop[None], size=size[1:], mode="bilinear", align_corners=False)[0]
    return F.interpolate(crop[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]


def _change_values(slices: Tensor, style: _VolumeStyle, rng: Rng) -> None:
    """Change the values of (depth, height, width) in place."""
    n = len(slices)
    if rng.random() < 0.8:
        blurred = np.flatnonzero(rng.random(n) < style.blur_slice)
        sigma = rng.uniform(0.1, intensity.LARGEST_SIGMA, len(blurred))
        intensity.blur(slices, torch.from_numpy(blurred), _per_slice(sigma))
    scale, shift = torch.ones(n, 1, 1), torch.zeros(n, 1, 1)
    if rng.random() < style.scale:
        scale = _per_slice(rng.uniform(0.75, 1.25, n))
    if rng.random() < style.shift:
        shift = _per_slice(rng.normal(0, 0.4, n) * (rng.random(n) < 0.8))
    contrast = _per_slice(rng.uniform(0.75, 1.25, n))
    gamma = _per_slice(rng.uniform(0.7, 1.5, n)) if rng.random() < style.gamma else None
    intensity.adjust(slices, scale, shift, contrast, gamma)


def _per_slice(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None, None]


def _picture_view(
    pixels: Array, size: tuple[int, int], style: _PictureStyle, rng: Rng, least_area: float
) -> Array:
    crop = np.ascontiguousarray(pixels[(slice(None), *_resized_crop(pixels.shape[1:], rng, least_area))])
    tensor = torch.from_numpy(crop)[None]
    resized = F.interpolate(tensor, size=size, mode="bicubic", align_corners=False, antialias=True)
    x = resized[0].numpy().clip(0, 1)
    if rng.random() < 0.5:
        x = x[:, :, ::-1]
    if rng.random() < 0.8:
        x = _jitter(x, rng)
    if rng.random() < style.grey and len(x) == 3:
        x = np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), x, axes=1)[None]
    if rng.random() < style.blur:
        sigma = rng.uniform(0.1, 2)
        for axis in (1, 2):
            x = gaussian_filter1d(x, sigma, axis=axis, radius=11, mode="reflect")  # a kernel of 23
    return np.ascontiguousarray(np.broadcast_to(x, (3, *size)), dtype=np.float32)


def _resized_crop(shape: tuple[int, ...], rng: Rng, least_area: float) -> tuple[slice, slice]:
    """Window of `least_area` to 1 of the area, 3/4 to 4/3 in aspect; the whole image where no draw fits."""
    height, width = shape
    for _ in range(10):
        area = height * width * rng.uniform(least_area, 1)
        aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        h, w = round(np.sqrt(area / aspect)), round(np.sqrt(area * aspect))
        if 0 < h <= height and 0 < w <= width:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            return slice(top, top + h), slice(left, left + w)
    return slice(0, height), slice(0, width)


def _jitter(x: Array, rng: Rng) -> Array:
    """Brightness, contrast, saturation (0.4, 0.4, 0.2) and hue (0.1), in random order."""
    strengths = rng.uniform((0.6, 0.6, 0.8, -0.1), (1.4, 1.4, 1.2, 0.1)).astype(np.float32)
    for step in rng.permutation(4):
        amount = strengths[step]
        if step == 0:
            x = x * amount
        elif step == 1:
            x = (x - x.mean()) * amount + x.mean()
        elif len(x) == 1:
            continue  # grey has neither saturation nor hue
        elif step == 2:
            grey = x.mean(axis=0, keepdims=True)
            x = (x - grey) * amount + grey
        else:
            hsv = rgb2hsv(np.moveaxis(x, 0, -1))
            hsv[..., 0] = (hsv[..., 0] + amount) % 1
            x = np.moveaxis(hsv2rgb(hsv), -1, 0)
        x = np.clip(x, 0, 1, dtype=np.float32)
    return x
