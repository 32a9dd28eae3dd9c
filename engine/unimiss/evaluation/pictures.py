"""Pictures of single cases: what was there, what was predicted, on the image."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from unimiss.colours import SOFT_TISSUE, class_colour
from unimiss.evaluation.planes import Planes, joint
from unimiss.geometry import Geometry
from unimiss.io import Image

T = TypeVar("T", bound=np.generic)

_SIDE = 400  # pixels of the longer side
_MARGIN = 0.25  # of the extent of what is outlined
_DASH = 7


def worst_slice(
    prediction: Planes, reference: Planes, labels: Sequence[int], grid: Geometry
) -> tuple[int | None, int]:
    """Find the slice with most wrong voxels of all classes, across the axis with the thickest slices.

    Returns
    -------
    axis : int or None
        None for flat images.
    index : int
        Of the slice; where nothing is wrong, the one with most of the reference.
    """
    axis = thick_axis(grid)
    if axis is None:
        return None, 0
    wrong, present = np.zeros(grid.shape[axis], int), np.zeros(grid.shape[axis], int)
    for label in labels:
        box = joint(prediction.box(label), reference.box(label))
        if box is None:
            continue
        masks = prediction.inside(label, box), reference.inside(label, box)
        others = tuple(a for a in range(3) if a != axis)
        wrong[box[axis]] += (masks[0] != masks[1]).sum(axis=others)
        present[box[axis]] += masks[1].sum(axis=others)
    return axis, int((wrong if wrong.any() else present).argmax())


def mask_picture(
    prediction: Planes,
    reference: Planes,
    labels: Sequence[int],
    image: Image | None,
    grid: Geometry,
    at: tuple[int | None, int],
) -> bytes:
    """Draw outlines of both masks: the reference solid, the prediction dashed and lighter, a colour a class.

    Parameters
    ----------
    prediction, reference : Planes
        Masks.
    labels : sequence of int
        Their classes in the order of the colours.
    image : Image or None
        What lies below; else it is black.
    grid : Geometry
        Of masks and image.
    at : tuple
        Axis and index of the slice, from `worst_slice`.

    Returns
    -------
    bytes
        A PNG.
    """
    axis, index = at
    ours, theirs = (_section(mask, labels, axis, index) for mask in (prediction, reference))
    window = _window(np.logical_or(ours, theirs).max(axis=0))
    steps = [step for a, step in enumerate(grid.spacing) if a != axis]
    size = _size([(w.stop - w.start) * step for w, step in zip(window, steps, strict=True)])
    if image is None:
        canvas = np.zeros((*size, 3))
    else:
        canvas = _background(section(image.array, axis, index)[:, *window], size)
    for masks, dashed in ((theirs, False), (ours, True)):
        for place, inside in enumerate(masks, start=1):
            _outline(canvas, _enlarged(inside[window], size), class_colour(place), dashed)
    return _png(canvas)


def image_picture(image: Image) -> bytes:
    """Draw an image, of a volume its middle slice across the axis with the thickest slices; returns a PNG."""
    axis = thick_axis(image.geometry)
    plane = section(image.array, axis, 0 if axis is None else image.geometry.shape[axis] // 2)
    steps = [step for a, step in enumerate(image.geometry.spacing) if a != axis]
    return _png(_background(plane, _size([n * step for n, step in zip(plane.shape[1:], steps, strict=True)])))


def thick_axis(grid: Geometry) -> int | None:
    """Axis across which a volume is shown, which is how most were acquired; None for flat images."""
    return None if grid.ndim == 2 else int(np.argmax(np.round(grid.spacing, 3)))


def section(array: NDArray[T], axis: int | None, index: int) -> NDArray[T]:
    """Slice of an array with a channel axis, the head up."""
    if axis is None:
        return array
    plane = array[(slice(None),) * (axis + 1) + (index,)]
    return plane if axis == 0 else plane[:, ::-1]


def _section(mask: Planes, labels: Sequence[int], axis: int | None, index: int) -> NDArray[np.bool_]:
    """Where each class is in a slice, (classes, height, width)."""
    flat = Planes(section(mask.array, axis, index), mask.parts)
    return np.stack([flat.inside(label) for label in labels])


def _window(shown: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Box around what is outlined with a margin; everything where nothing is."""
    if not shown.any():
        return tuple(slice(0, size) for size in shown.shape)
    found = [np.flatnonzero(shown.any(axis=1 - axis)) for axis in (0, 1)]
    margin = 4 + round(_MARGIN * max(places[-1] - places[0] for places in found))
    return tuple(
        slice(max(0, int(places[0]) - margin), min(size, int(places[-1]) + 1 + margin))
        for places, size in zip(found, shown.shape, strict=True)
    )


def _size(extent: list[float]) -> tuple[int, int]:
    height, width = (max(1, round(_SIDE * length / max(extent))) for length in extent)
    return height, width


def _background(plane: NDArray[np.generic], size: tuple[int, int]) -> NDArray[np.float64]:
    """Channels as grey, or as red, green and blue where there are three."""
    pixels = np.nan_to_num((plane if len(plane) == 3 else plane[:1]).astype(np.float32))
    low, high = SOFT_TISSUE if pixels.min() < SOFT_TISSUE[0] else np.percentile(pixels, (0.5, 99.5))
    grey = (np.clip((pixels - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    resized = [
        np.asarray(Pillow.fromarray(channel).resize(size[::-1], Pillow.Resampling.BICUBIC))
        for channel in grey
    ]
    return np.stack(resized if len(resized) == 3 else resized * 3, axis=-1).astype(float)


def _enlarged(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, mask.shape, strict=True))
    return mask[np.ix_(rows, columns)]


def _outline(
    canvas: NDArray[np.float64], mask: NDArray[np.bool_], colour: tuple[int, ...], dashed: bool
) -> None:
    inside = np.pad(mask, 2)
    inner = inside.copy()
    for axis in (0, 1):  # two pixels wide
        for shift in (-2, 2):
            inner &= np.roll(inside, shift, axis)
    edge = (inside & ~inner)[2:-2, 2:-2]
    drawn = np.array(colour)
    if dashed:
        rows, columns = np.indices(mask.shape)
        edge &= (rows + columns) % (2 * _DASH) < _DASH
        drawn = drawn + 0.4 * (255 - drawn)
    canvas[edge] = drawn


def _png(canvas: NDArray[np.float64]) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(canvas.astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()
