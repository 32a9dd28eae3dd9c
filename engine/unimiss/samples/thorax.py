"""The chest: lungs, heart, great vessels and airways."""

from __future__ import annotations

import numpy as np

from unimiss.samples.canvas import Canvas
from unimiss.samples.shapes import Floats, ellipsoid, intersection, ramp, tube, union
from unimiss.samples.site import Site
from unimiss.samples.vessels import Tree

LUNGS, HEART = 1, 2
_ARCH = ((88, -24, -12), (101, -6, 0), (100, 20, 25), (78, 30, 25))
_AORTA = ((52, -24, 4), *_ARCH, (-40, 34, 17), (-240, 28, 6))
_VENA_CAVA = ((125, -12, -24), (40, -12, -30), (0, 10, -26), (-60, 24, -22), (-240, 28, -18))
_PULMONARY_TRUNK = ((48, -42, 20), (72, -18, 24), (74, 4, 34))
_TRACHEA = ((260, -18, 0), (130, 4, 0), (80, 12, 2))
_BRONCHI = (((80, 12, 2), (64, 14, -22), (54, 14, -44)), ((80, 12, 2), (62, 16, 26), (50, 18, 46)))
HILA = ((58, 12, -40), (60, 14, 42))


def lungs(site: Site) -> Floats:
    """Distance to both lungs: the chest without diaphragm and mediastinum."""
    z, y, x = site.points
    width = 15 + 17 * np.exp(-(((y - 52) / 26) ** 2)) + 9 * np.exp(-(((z - 75) / 55) ** 2))
    middle = np.abs(x - 3) - width * (1 - 0.55 * ramp(-y, 20, 70))
    for hilum in HILA:
        middle = union(middle, ellipsoid(site.points, hilum, (20, 16, 12)), 12)
    middle = union(middle, heart(site) - 4, 10)
    middle = union(middle, tube(site.points, (*_ARCH[1:], _AORTA[-2]), 15), 8)
    space = intersection(site.wall + 4, 2 - site.roof, 4)
    return np.maximum(space, -middle)


def heart(site: Site) -> Floats:
    """Distance to the heart: ventricles towards the left front, atria behind on the right."""
    whole = union(_ventricles(site), _atria(site), 22)
    return np.maximum(whole, np.maximum(1 - site.roof, site.wall + 8))


def _ventricles(site: Site) -> Floats:
    long = np.array([-0.42, -0.5, 0.757])
    short = np.cross(long, (1, 0, 0)) / np.linalg.norm(np.cross(long, (1, 0, 0)))
    axes = np.stack([long, short, np.cross(long, short)]).astype(np.float32)
    radii = site.patient.size["heart"] * np.array([60.0, 43.0, 46.0])
    return ellipsoid(site.points, site.patient.offset["heart"] + (30, -26, 30), radii, axes)


def _atria(site: Site) -> Floats:
    radii = site.patient.size["heart"] * np.array([36.0, 29.0, 35.0])
    return ellipsoid(site.points, site.patient.offset["heart"] + (38, -8, -12), radii)


def paint_lungs(canvas: Canvas, site: Site, tree: Tree) -> None:
    """Fill the lungs, denser towards the back where they rest, and their vessels."""
    shape = lungs(site)
    canvas.paint(shape, site.patient.hu["lung"] + 0.35 * site.points[1] + 22 * site.fine, LUNGS)
    inside = np.flatnonzero(shape < 0)
    vessels = np.full(shape.size, 99, dtype=np.float32)
    vessels[inside] = tree.distance(site.points[:, inside])
    canvas.paint(vessels, 0.6 * site.patient.hu["blood"], None)


def paint_middle(canvas: Canvas, site: Site) -> None:
    """Fill heart, great vessels and airways."""
    fine, blood = site.fine, site.patient.hu["blood"]
    for path, radius in ((_TRACHEA, 8.5), *((bronchus, 6.0) for bronchus in _BRONCHI)):
        airway = tube(site.points, path, radius)
        canvas.paint(airway - 2, 30.0, None)
        canvas.paint(airway, -985.0, None)
    for vessel, radius in ((_PULMONARY_TRUNK, 13), (_VENA_CAVA, 10), (_AORTA, 12.5)):
        canvas.paint(tube(site.points, vessel, radius), blood + 5 * fine)
    shape = heart(site)
    canvas.paint(shape, site.patient.hu["myocardium"] + 7 * fine, HEART)
    pools = np.minimum(_ventricles(site) + 13, _atria(site) + 6)
    canvas.paint(np.maximum(pools, shape + 4), blood + 6 * fine, None)
