"""Scores of one mask against its reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unimiss.errors import InputError
from unimiss.evaluation.planes import Planes, joint, where_known
from unimiss.evaluation.surfaces import surface_distances
from unimiss.geometry import Geometry
from unimiss.io import Image

TOLERANCE = 1.0
"""Default of the surface Dice, in mm: about a voxel of a fine scan."""

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
    prediction: Image,
    reference: Image,
    labels: Mapping[int, str],
    tolerance: float = TOLERANCE,
    unknown: tuple[int, ...] = (),
) -> dict[int, Scores]:
    """Score a mask class by class.

    Parameters
    ----------
    prediction, reference : Image
        On the same grid: one channel of whole numbers or, where classes overlap, one of 0 and 1 for each
        class.
    labels : mapping of int to str
        Values to score, or channels from 1, and their names; the background, 0, is left out.
    tolerance : float
        Of the surface Dice, in the geometry's units.
    unknown : tuple of int
        Values of the reference, or channels, where nothing is scored, for nobody labelled there.

    Returns
    -------
    dict of int to Scores
        For each label in the given order.

    Raises
    ------
    InputError
        The grids or the numbers of channels differ, or an image is not a mask.
    """
    refuse_other_grid(prediction.geometry, reference.geometry)
    predicted, true = Planes.of(prediction), Planes.of(reference)
    if len(predicted) != len(true):
        raise InputError(f"the prediction has {_channels(predicted)}, its reference {_channels(true)}")
    predicted, true = where_known(predicted, true, unknown)
    return score_planes(predicted, true, reference.geometry, labels, tolerance)


def score_planes(
    predicted: Planes, true: Planes, geometry: Geometry, labels: Iterable[int], tolerance: float
) -> dict[int, Scores]:
    """Score the classes of two masks on one grid; parameters are those of `evaluate_masks`."""
    sized = geometry.ndim == 3 and geometry.units == "mm"
    voxel = abs(float(np.linalg.det(geometry.matrix))) / 1000 if sized else _NAN
    scores = {}
    for label in labels:
        if label > 0:
            box = joint(predicted.box(label), true.box(label)) or (slice(0, 0),)
            masks = predicted.inside(label, box), true.inside(label, box)
            scores[label] = _score(*masks, geometry, voxel, tolerance)
    return scores


def refuse_other_grid(prediction: Geometry, reference: Geometry) -> None:
    """Raise an `InputError` where a prediction does not lie on its reference."""
    difference = reference.difference(prediction)
    if difference:
        raise InputError(f"the prediction lies on another grid than its reference: {difference}")


def _channels(planes: Planes) -> str:
    return "one channel" if len(planes) == 1 else f"{len(planes)} channels"


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
