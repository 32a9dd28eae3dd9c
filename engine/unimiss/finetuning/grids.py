"""What the headers of a data set's images say about voxel sizes and patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unimiss.data.cases import Case
from unimiss.errors import InputError
from unimiss.geometry import Geometry
from unimiss.io.probe import probe

_NATIVE_PLANE = 96  # MiT's grids are a quarter of the image's: smaller images are enlarged, to twice at most
_PATCH_VOXELS = {"cpu": 32 * 96 * 96, "cuda": 48 * 192 * 192}

Triple = tuple[float, float, float]


def read_grids(cases: Sequence[Case], dataset: Path) -> list[Geometry]:
    """Return the grids of all images that can be read, which have the same number of axes."""
    found = []
    for case in cases:
        try:
            found.append(probe(case.image))
        except InputError:
            continue  # `prepare_cases` names it
    if not found:
        raise InputError(f"none of the {len(cases)} images can be read, first {cases[0].image}")
    if len({grid.ndim for grid in found}) != 1:
        raise InputError(f"{dataset} mixes volumes and flat images; put them into two data sets")
    return found


def fit_spacing(grids: Sequence[Geometry]) -> Triple:
    """Return the median voxel size of volumes, in plane up to twice as fine where they are small."""
    spacing = np.median([grid.spacing for grid in grids], axis=0)
    spacing[1:] /= np.clip(_NATIVE_PLANE / (_extent(grids) / spacing)[1:].max(), 1, 2)
    depth, height, width = (float(round(value, 4)) for value in spacing)
    return depth, height, width


def resized_spacing(grids: Sequence[Geometry], size: Sequence[int]) -> tuple[float, ...]:
    """Return the median voxel size of images resized to `size`, in units of that of the last axis.

    Pixels of pictures that say nothing are square.
    """
    spacings = [np.multiply(grid.shape, grid.spacing) / size for grid in grids]
    ratios = np.median([spacing / spacing[-1] for spacing in spacings], axis=0)
    return tuple(float(ratio) for ratio in ratios)


def fit_patch(grids: Sequence[Geometry], spacing: Triple, device: str) -> tuple[int, ...]:
    """Return the largest patch for volumes of this voxel size: multiples of 16 deep and 32 in plane.

    Where it would have more voxels than a step on the device ("cpu", "cuda") allows, its relatively largest
    axis shrinks first.
    """
    steps, limit = np.array([16, 32, 32]), _PATCH_VOXELS[device]
    patch = np.maximum(1, np.rint(_extent(grids) / spacing / steps)) * steps
    while patch.prod() > limit and (patch > steps).any():
        largest = np.argmax(np.where(patch > steps, patch / steps, 0))
        patch[largest] -= steps[largest]
    return tuple(int(n) for n in patch)


def _extent(grids: Sequence[Geometry]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Median size of volumes in mm."""
    extent: np.ndarray[tuple[int], np.dtype[np.float64]] = np.median(
        [np.multiply(grid.shape, grid.spacing) for grid in grids], axis=0
    )
    return extent
