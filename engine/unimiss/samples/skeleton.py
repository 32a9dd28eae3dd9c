"""Bones: spine, ribs, and the ones that no label names (breastbone, collarbones, shoulders)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unimiss.samples.canvas import Canvas
from unimiss.samples.shapes import Floats, capsule, ellipsoid, ramp, superellipsoid, tube, union
from unimiss.samples.site import Site

SPINE, RIBS = 6, 7
_LEVEL = 24.0  # mm from one vertebra, and one rib, to the next
_FIRST_RIB = 148.0  # height of the first rib at the spine
_CARTILAGE = 120.0


def paint(canvas: Canvas, site: Site) -> None:
    """Paint every bone, the spine last: the ribs end in it."""
    _paint_ribs(canvas, site)
    _paint_shoulders(canvas, site)
    _paint_spine(canvas, site)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / np.linalg.norm(vector))


def _bone(site: Site, distance: Floats, shell: float, hard: float = 1.0) -> Floats:
    """Tissue of a bone: compact, more or less `hard`, within `shell` mm of its surface, marrow below."""
    compact = np.clip(1 + (distance + np.float32(shell)) / 2, 0, 1)
    marrow = site.patient.hu["marrow"] + 45 * site.fine
    return np.asarray(marrow + compact * (hard * site.patient.hu["cortex"] - marrow))


def _paint_ribs(canvas: Canvas, site: Site) -> None:
    """Paint bands on the chest wall that fall from the spine towards the front and end in cartilage."""
    z, y, x = site.points
    angle = np.arctan2(np.abs(x), y - np.float32(10))  # 0 at the spine, pi at the breastbone
    steepness = 0.7 + 0.3 * ramp(-z, -150, -50)
    drop = site.patient.rib_drop * steepness * (1 - np.cos(angle)) / 2
    position = (_FIRST_RIB - z - drop) / _LEVEL
    number = np.clip(np.rint(position), 0, 11)
    band = np.stack([(position - number) * (0.86 * _LEVEL), site.wall - 4])
    distance = (np.sqrt((band[0] / 5.8) ** 2 + (band[1] / 3.6) ** 2) - 1) * 4.2
    end = 2.55 - 0.16 * np.maximum(number - 5, 0) - 0.35 * np.maximum(number - 9, 0)
    past = 75 * (angle - end)
    joined = np.where(number < 8, 75 * (angle - 3.0), past)
    canvas.paint(np.maximum(distance, joined), _CARTILAGE + 15 * site.fine)
    bone = np.maximum(distance, past)
    canvas.paint(bone, _bone(site, bone, 1.2), RIBS)


def _paint_shoulders(canvas: Canvas, site: Site) -> None:
    """Paint breastbone, collarbones, shoulder blades and upper arms."""
    z, y, x = site.points
    breastbone = np.maximum.reduce([np.abs(site.wall - 5) - 5, np.abs(x) - 17, z - 118, 5 - z, y])
    bones = [breastbone]
    for side in (-1.0, 1.0):
        inner, middle, outer = (122, -70, 22 * side), (138, -58, 80 * side), (150, -20, 158 * side)
        bones.append(tube(site.points, (inner, middle, outer), 5.8))
        bones.append(ellipsoid(site.points, (142, -2, 184 * side), (25, 24, 24)))
        bones.append(capsule(site.points, (140, -2, 190 * side), (10, 0, 255 * side), 12))
        normal = np.array([0.1, 0.74, 0.66 * side])  # the shoulder blade lies flat on the ribs
        long = np.cross(normal, (-0.25, -0.66, 0.74 * side))
        axes = np.stack([_unit(long), _unit(np.cross(normal, long)), _unit(normal)]).astype(np.float32)
        bones.append(ellipsoid(site.points, (88, 76, 106 * side), (66, 38, 4), axes))
    for bone in bones:
        canvas.paint(bone, _bone(site, bone, 2.0))


def _paint_spine(canvas: Canvas, site: Site) -> None:
    """Paint bodies with discs between them, the arch around the canal, and the processes."""
    z = site.points[0]
    middle_y = 48 + site.patient.curve * np.cos((z - 40) / 95)
    offset_y, offset_x = site.points[1] - middle_y, site.points[2] - site.patient.bend * np.sin((z + 30) / 80)
    phase = (z - np.float32(_FIRST_RIB)) / np.float32(_LEVEL)
    from_middle = np.abs(phase - np.rint(phase)) * np.float32(_LEVEL)  # 0 mid-vertebra, 12 mid-disc
    size = 1 - 0.0011 * (z + 20)  # vertebrae widen downwards
    plane = np.stack([offset_y / size, offset_x / size])
    waist = 1.5 * (1 - (from_middle / 9) ** 2)
    body = superellipsoid(plane, np.array([[16], [20]], dtype=np.float32), 2.3) + np.maximum(waist, 0)
    canal = np.hypot(offset_y - 26, offset_x) - np.float32(8)
    arch = np.maximum(canal - 4.5, from_middle - 8.5)
    reach = 33 - 14 * ramp(z, 140, 170)  # shorter in the neck
    across = np.maximum(np.hypot((offset_y - 27) / 1.3, from_middle) - 5, np.abs(offset_x) - reach)
    spinous = np.maximum(np.abs(offset_x) - 3.2, np.hypot(from_middle, (offset_y - 40) / 2.2) - 8)
    bone = np.minimum(np.minimum(body, arch), union(across, spinous, 3))
    disc = from_middle > 9.5
    tissue = np.where(disc & (body < 0), 85 + 8 * site.fine, _bone(site, bone, 1.8, 0.7))
    endplate = (np.abs(from_middle - 8.8) < 1.3) & (body < 0)
    tissue = np.where(endplate, 0.6 * site.patient.hu["cortex"], tissue)
    canvas.paint(bone, tissue, SPINE)
    canvas.paint(canal, 25 + 6 * site.fine)
