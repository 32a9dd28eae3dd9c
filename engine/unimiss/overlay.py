"""A picture of a mask on its image, for reports and for machines without a screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from unimiss.colours import SOFT_TISSUE, class_colour
from unimiss.io import Image
from unimiss.runs import atomic

_OPACITY = 0.45
_HEIGHT = 420


def save_overlay(image: Image, mask: Image, path: Path, title: str = "") -> None:
    """Draw axial, coronal and sagittal slices through the middle of the mask, classes in colour.

    Parameters
    ----------
    image : Image
        A volume or a radiograph.
    mask : Image
        On the same grid, with names of its labels.
    path : Path
        PNG file.
    title : str
        Line above the slices.
    """
    pixels, labels = image.array[0].astype(np.float32), mask.array[0]
    low, high = SOFT_TISSUE if pixels.min() < SOFT_TISSUE[0] else np.percentile(pixels, (0.5, 99.5))
    grey = np.clip((pixels - low) / max(high - low, 1e-6), 0, 1)
    values = [value for value in mask.labels if value != 0]
    tiles = []
    for axis, index in enumerate(_middle(labels)) if labels.ndim == 3 else [(None, 0)]:
        tiles.append(_tile(grey, labels, values, axis, index, image.geometry.spacing))
    _compose(tiles, [(mask.labels[value], class_colour(i)) for i, value in enumerate(values, 1)], title, path)


def _middle(labels: NDArray[np.integer]) -> list[int]:
    """For each axis the slice in which most classes and voxels are seen."""
    out = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        classes = sum((labels == value).any(axis=others).astype(int) for value in np.unique(labels)[1:])
        count = (labels > 0).sum(axis=others)
        out.append(int(np.argmax(classes * (count.max() + 1) + count)))
    return out


def _tile(
    grey: NDArray[np.float32],
    labels: NDArray[np.integer],
    values: Sequence[int],
    axis: int | None,
    index: int,
    spacing: tuple[float, ...],
) -> Pillow.Image:
    at = (slice(None),) * (axis or 0) + ((index,) if axis is not None else ())
    base, classes = grey[at], labels[at]
    steps = [s for a, s in enumerate(spacing) if a != axis]
    if axis in (1, 2):  # head up
        base, classes = base[::-1], classes[::-1]
    colour = np.repeat(base[..., None] * 255, 3, axis=-1)
    for place, value in enumerate(values, 1):
        inside = classes == value
        colour[inside] = (1 - _OPACITY) * colour[inside] + _OPACITY * np.array(class_colour(place))
    picture = Pillow.fromarray(colour.astype(np.uint8))
    height_mm, width_mm = (n * s for n, s in zip(base.shape, steps, strict=True))
    return picture.resize((max(1, round(_HEIGHT * width_mm / height_mm)), _HEIGHT), Pillow.Resampling.BICUBIC)


def _compose(
    tiles: Sequence[Pillow.Image], legend: Sequence[tuple[str, tuple[int, int, int]]], title: str, path: Path
) -> None:
    gap, band = 8, 28
    width = sum(tile.width for tile in tiles) + gap * (len(tiles) + 1)
    sheet = Pillow.new("RGB", (width, _HEIGHT + 2 * band + 2 * gap), (18, 18, 20))
    draw = ImageDraw.Draw(sheet)
    draw.text((gap, gap), title, fill=(235, 235, 235), font_size=15)
    x = gap
    for tile in tiles:
        sheet.paste(tile, (x, band + gap))
        x += tile.width + gap
    x, y = gap, _HEIGHT + band + 2 * gap
    for name, colour in legend:
        draw.rectangle((x, y + 3, x + 12, y + 15), fill=colour)
        draw.text((x + 18, y), name, fill=(235, 235, 235), font_size=14)
        x += 30 + round(draw.textlength(name, font_size=14))
    atomic.write(path, lambda temporary: sheet.save(temporary, format="PNG"))
