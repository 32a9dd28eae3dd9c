"""How far two surfaces lie apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, generate_binary_structure
from scipy.spatial import KDTree

from unimiss.geometry import Geometry


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances of each surface's voxels to the other surface, in the geometry's units.

    A surface are the voxels of a mask with a face on its outside; the edge of the image is outside.

    Attributes
    ----------
    forward, backward : array of float
        From the prediction to the reference, and back.
    """

    forward: NDArray[np.float64]
    backward: NDArray[np.float64]

    def hausdorff(self, percentile: float) -> float:
        """Larger of both directions' percentiles."""
        return max(float(np.percentile(way, percentile)) for way in (self.forward, self.backward))

    def average(self) -> float:
        """Mean over the voxels of both surfaces: the average symmetric surface distance."""
        return float(np.concatenate([self.forward, self.backward]).mean())

    def within(self, tolerance: float) -> float:
        """Share of both surfaces' voxels that lie within `tolerance` of the other: the surface Dice.

        Nikolov et al., 2021, with voxels in place of surface elements, as MONAI counts them.
        """
        return float((np.concatenate([self.forward, self.backward]) <= tolerance).mean())


def surface_distances(
    predicted: NDArray[np.bool_], true: NDArray[np.bool_], geometry: Geometry
) -> SurfaceDistances:
    """Measure between voxel centres in the world, so on oblique and sheared grids too.

    Parameters
    ----------
    predicted, true : array of bool, one shape
        Two masks, neither empty, cropped from the grid to a box that holds both.
    geometry : Geometry
        The grid; where the box lies in it does not matter.

    Notes
    -----
    Trees of surface points took 0.1 s one way for a class with 75,000 surface voxels in 128³, distance
    transforms 0.5 s; both are exact, but transforms know no shear. An image of one slice is flat, and its
    surface is a contour.
    """
    neighbours = generate_binary_structure(geometry.ndim, 1)
    for axis in np.flatnonzero(np.array(geometry.shape) == 1):
        neighbours[(slice(None),) * axis + ([0, 2],)] = False
    ours, theirs = (
        geometry.to_world(np.argwhere(mask & ~binary_erosion(mask, neighbours))) for mask in (predicted, true)
    )
    return SurfaceDistances(KDTree(theirs).query(ours)[0], KDTree(ours).query(theirs)[0])
