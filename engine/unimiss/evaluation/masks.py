"""Scores of one mask against its reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from unimiss.errors import InputError
from unimiss.evaluation.surfaces import surface_distances
from unimiss.geometry import Geometry
from unimiss.io import Image

TOLERANCE = 1.0
"""Default of the surface Dice, in mm: about a voxel of a fine scan."""

_HIGHEST = 65535  # label value
_NAN = float("nan")


@dataclass(frozen=True)
class Scores:
    """Agreement on one class; NaN where a score is not defined, which means leave out.

    A class in neither mask has no score but its volumes, as nnU-Net counts: it says nothing about the model.
    A class in only one of them has Dice, IoU and surface Dice 0, and no distance: there is nothing to measure
    to, and any number would be invented.

    Attributes
    ----------
    dice : float
        Twice the common voxels over the sum of both masks' voxels, 0 to 1.
    iou : float
        Common voxels over those of either mask, 0 to 1.
    hd95 : float
        Larger of both directions' 95th percentile of distances from the surface voxels of one mask to the
        nearest surface voxel of the other, in the geometry's units (mm; pixels for pictures without size).
    assd : float
        Average symmetric surface distance: the mean of all these distances, in the same units.
    surface_dice : float
        Share of both masks' surface voxels that lie within a tolerance of the other surface, 0 to 1.
    volume, reference_volume : float
        Millilitres of prediction and reference; NaN for flat pictures.
    """

    dice: float = _NAN
    iou: float = _NAN
    hd95: float = _NAN
    assd: float = _NAN
    surface_dice: float = _NAN
    volume: float = _NAN
    reference_volume: float = _NAN


def evaluate_masks(
    prediction: Image, reference: Image, labels: Mapping[int, str], tolerance: float = TOLERANCE
) -> dict[int, Scores]:
    """Score a label image class by class.

    Parameters
    ----------
    prediction, reference : Image
        One channel of whole numbers on the same grid.
    labels : mapping of int to str
        Values to score and their names; the background, 0, is left out.
    tolerance : float
        Of the surface Dice, in the geometry's units.

    Returns
    -------
    dict of int to Scores
        For each label in the given order.

    Raises
    ------
    InputError
        The grids differ, or an image is not a mask.
    """
    geometry = reference.geometry
    difference = geometry.difference(prediction.geometry)
    if difference:
        raise InputError(f"the prediction lies on another grid than its reference: {difference}")
    predicted, true = label_array(prediction), label_array(reference)
    boxes = find_objects(predicted), find_objects(true)
    sized = geometry.ndim == 3 and geometry.units == "mm"
    voxel = abs(float(np.linalg.det(geometry.matrix))) / 1000 if sized else _NAN
    scores = {}
    for label in labels:
        if label > 0:
            box = _joint(*(found[label - 1] if label <= len(found) else None for found in boxes))
            scores[label] = _score(predicted[box] == label, true[box] == label, geometry, voxel, tolerance)
    return scores


def label_array(image: Image) -> NDArray[np.int32]:
    """Return a mask's values without the channel axis.

    Raises
    ------
    InputError
        The image has several channels, or values that are no labels.
    """
    if image.channels != 1:
        raise InputError(f"a mask has one channel, found {image.channels}")
    array = image.array[0]
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= _HIGHEST):  # NaN fails too
        raise InputError(f"a mask holds whole numbers from 0 to {_HIGHEST}, found {low} to {high}")
    values: NDArray[np.int32] = array.astype(np.int32)
    if array.dtype.kind == "f" and not (values == array).all():
        raise InputError("a mask holds whole numbers, found fractions")
    return values


def _joint(*boxes: tuple[slice, ...] | None) -> tuple[slice, ...]:
    """Smallest box around both; an empty one where there is none."""
    present = [box for box in boxes if box is not None]
    if not present:
        return (slice(0, 0),)
    axes = zip(*present, strict=True)
    return tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in axes)


def _score(
    predicted: NDArray[np.bool_], true: NDArray[np.bool_], geometry: Geometry, voxel: float, tolerance: float
) -> Scores:
    both, either = int((predicted & true).sum()), int((predicted | true).sum())
    sizes = int(predicted.sum()), int(true.sum())
    volumes = sizes[0] * voxel, sizes[1] * voxel
    if not either:
        return Scores(volume=volumes[0], reference_volume=volumes[1])
    if not all(sizes):
        return Scores(dice=0, iou=0, surface_dice=0, volume=volumes[0], reference_volume=volumes[1])
    apart = surface_distances(predicted, true, geometry)
    return Scores(
        dice=2 * both / sum(sizes),
        iou=both / either,
        hd95=apart.hausdorff(95),
        assd=apart.average(),
        surface_dice=apart.within(tolerance),
        volume=volumes[0],
        reference_volume=volumes[1],
    )
