"""The whole person: which tissue is at which place in the world."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unimiss.samples import abdomen, skeleton, thorax
from unimiss.samples.canvas import Canvas
from unimiss.samples.patient import Patient, generator
from unimiss.samples.shapes import Floats, capsule, ellipsoid, ramp, superellipsoid, union
from unimiss.samples.site import Site
from unimiss.samples.vessels import Tree

ORGANS: dict[int, str] = {
    thorax.LUNGS: "lungs",
    thorax.HEART: "heart",
    abdomen.LIVER: "liver",
    abdomen.SPLEEN: "spleen",
    abdomen.KIDNEYS: "kidneys",
    skeleton.SPINE: "spine",
    skeleton.RIBS: "ribs",
}
"""Label values of the organs; 0 is everything else."""

_LUNG_VESSELS = 900


class Anatomy:
    """The person of a seed, to be looked at on any grid.

    Parameters
    ----------
    seed : int
        Which person.
    """

    def __init__(self, seed: int) -> None:
        self.patient = Patient.draw(seed)
        self._vessels = Tree(thorax.HILA, self._places_in_lungs(generator(seed, "vessels")))

    def __call__(self, world: Floats, softness: float) -> tuple[Floats, NDArray[np.uint8]]:
        """Look at places in the world.

        Parameters
        ----------
        world : array, shape (3, N), float32
            Millimetres, in the order ``z, y, x``.
        softness : float
            Width of the edges between tissues, mm: about a voxel.

        Returns
        -------
        hu : array, shape (N,), float32
            Hounsfield units.
        labels : array, shape (N,), uint8
            Keys of `ORGANS`, or 0.
        """
        site = Site.at(self.patient, self.patient.to_body(world))
        canvas = Canvas(world.shape[1], softness)
        _paint_trunk(canvas, site)
        thorax.paint_lungs(canvas, site, self._vessels)
        abdomen.paint(canvas, site)
        thorax.paint_middle(canvas, site)
        skeleton.paint(canvas, site)
        return canvas.hu, canvas.labels

    def _places_in_lungs(self, random: np.random.Generator) -> NDArray[np.float64]:
        """Draw random places inside both lungs, shape (N, 3)."""
        low, high = np.array([-90, -95, -145]), np.array([155, 95, 145])
        places = random.uniform(low, high, (4 * _LUNG_VESSELS, 3))
        points = places.T.astype(np.float32)
        inside = thorax.lungs(Site.at(self.patient, points)) < -3
        return np.asarray(places[inside][:_LUNG_VESSELS])


def _paint_trunk(canvas: Canvas, site: Site) -> None:
    """Fill skin, fat and muscle, and the fat of chest and abdomen around their organs."""
    hu = site.patient.hu
    skin = _skin(site.patient, site.points)
    fat = hu["fat"] + 7 * site.fine
    muscle = hu["muscle"] + 9 * site.fine - 130 * np.clip(2 * site.medium - 2, 0, 1)  # with streaks of fat
    canvas.paint(skin, 25.0)
    canvas.paint(skin + 2.5, fat)
    canvas.paint(np.maximum(skin + site.patient.fat, -site.wall), muscle)
    canvas.paint(site.wall, np.where(site.roof < 2, hu["muscle"], fat + 60))
    canvas.paint(np.maximum(site.wall + 4, site.roof + 2), fat)


def _skin(patient: Patient, points: Floats) -> Floats:
    """Distance to the surface of trunk, neck and upper arms."""
    z, y, x = points
    wall = 15 + patient.fat
    depth = (float(patient.chest[1, 0]) + wall + 8) * (1 - 0.22 * ramp(z, 70, 180))
    width = (float(patient.chest[2, 0]) + wall + 4) * (1 + 0.3 * ramp(z, 40, 130))
    height = np.full_like(z, 142)
    offset = np.stack([np.maximum(z - 45, 0), y - 4, x])
    trunk = superellipsoid(offset, np.stack([height, depth, width]), 2.7)
    neck = ellipsoid(points, (230, 10, 0), (150, 62, 60))
    upper = union(trunk, neck, 40)
    arms = [capsule(points, (138, 0, 188 * side), (10, 0, 255 * side), 44) for side in (-1.0, 1.0)]
    return union(upper, np.minimum(*arms), 15)
