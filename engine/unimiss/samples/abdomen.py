"""Below the diaphragm: liver, spleen, kidneys, stomach and bowel."""

from __future__ import annotations

import numpy as np

from unimiss.samples.canvas import Canvas
from unimiss.samples.shapes import Floats, capsule, ellipsoid, intersection, union
from unimiss.samples.site import Site

LIVER, SPLEEN, KIDNEYS = 3, 4, 5


def liver(site: Site) -> Floats:
    """Distance to the liver: under the right dome, a wedge that thins to the left and downwards."""
    z, y, x = site.points - site.patient.offset["liver"].astype(np.float32)[:, None]
    size = site.patient.size["liver"]
    under = (-138 * size + 0.45 * (x + 110) - 0.12 * y - z) * 0.88
    left = 0.8 * x + 0.6 * y - 36 * size
    wedge = intersection(under, left, 30)
    return intersection(intersection(site.roof + 2, site.wall + 5, 6), wedge, 14)


def spleen(site: Site) -> Floats:
    """Distance to the spleen: a bean between the left dome, the ribs behind and the stomach."""
    axes = np.array([[0.88, 0.2, -0.43], [0, 0.907, 0.422], [0.474, -0.37, 0.8]], dtype=np.float32)
    centre = site.patient.offset["spleen"] + (-62 + site.patient.dome / 2, 42, 94)
    bean = ellipsoid(site.points, centre, site.patient.size["spleen"] * np.array([56.0, 43.0, 31.0]), axes)
    hollow = ellipsoid(site.points, centre - (0, 28, 40), (30, 26, 22))
    bean = intersection(bean, -hollow, 10)
    return intersection(bean, np.maximum(site.roof + 3, site.wall + 5), 6)


def kidney(site: Site, side: str) -> tuple[Floats, Floats]:
    """Distances to one kidney without its sinus, and to the sinus; the upper pole leans to the spine."""
    sign = 1.0 if side == "left" else -1.0
    tilt = np.array([[0.966, 0.1, -0.24 * sign], [-0.1, 0.995, 0], [0.24 * sign, 0, 0.97]], dtype=np.float32)
    centre = site.patient.offset[f"{side} kidney"] + (-98 - 4 * (1 - sign), 42, 62 * sign)
    size = site.patient.size[f"{side} kidney"]
    bean = ellipsoid(site.points, centre, size * np.array([53.0, 25.0, 28.0]), tilt)
    sinus = ellipsoid(site.points, centre - (0, 4, 17 * sign), size * np.array([22.0, 8.0, 13.0]), tilt)
    return intersection(bean, -sinus, 4), sinus


def paint(canvas: Canvas, site: Site) -> None:
    """Fill the abdomen from the bowel up to the kidneys."""
    hu, fine, medium = site.patient.hu, site.fine, site.medium
    _paint_bowel(canvas, site)
    kidneys = {side: kidney(site, side) for side in ("left", "right")}
    around = np.minimum(kidneys["left"][0], kidneys["right"][0]) - 5  # perirenal fat keeps neighbours away
    shape = np.maximum(spleen(site), -around)
    canvas.paint(shape, hu["spleen"] + 6 * fine + 3 * medium, SPLEEN)
    shape = np.maximum(liver(site), -around)
    canvas.paint(shape, hu["liver"] + 6 * fine + 4 * medium, LIVER)
    # Where two random fields both vanish there is a winding line.
    line = 7 * (np.abs(medium) + np.abs(site.patient.medium(site.points, 217.0))) - 2.2
    canvas.paint(np.maximum(line, shape + 6), 0.45 * hu["liver"] + 0.55 * hu["blood"], None)
    for bean, sinus in kidneys.values():
        canvas.paint(sinus, hu["fat"] + 10 * fine)
        medulla = 0.22 * hu["kidney"] * np.clip((-bean - 7) / 3, 0, 1)
        canvas.paint(bean, hu["kidney"] - medulla + 7 * fine, KIDNEYS)


def _paint_bowel(canvas: Canvas, site: Site) -> None:
    """Fill loops of bowel in fat, the muscles beside the spine, and the stomach with air at its front."""
    y, fine = site.points[1], site.fine
    inside = np.maximum(site.wall + 9, site.roof + 6)
    loops = 9 * (0.15 - site.patient.medium(site.points, 101.0))
    behind = 0.9 * (y - 28)  # the bowel lies in front of the kidneys
    canvas.paint(np.maximum(np.maximum(inside, behind), loops), 32 + 10 * fine)
    gas = np.maximum(loops + 9, y + 30)
    canvas.paint(np.maximum(inside + 5, gas), -900.0)
    for x in (-38.0, 38.0):
        psoas = capsule(site.points, (-70, 62, 0.8 * x), (-260, 40, 1.3 * x), 20)
        canvas.paint(psoas, site.patient.hu["muscle"] + 6 * fine)
    centre = site.patient.offset["stomach"] + (-40, -22, 62)
    stomach = ellipsoid(site.points, centre, site.patient.size["stomach"] * np.array([42.0, 44.0, 38.0]))
    stomach = union(stomach, capsule(site.points, centre, centre - (45, 20, 62), 18), 20)
    stomach = intersection(stomach, inside, 6)
    canvas.paint(stomach, 45 + 5 * fine)
    level = float(centre[1]) - 8  # the patient lies on the back, so air rises to the front
    canvas.paint(stomach + 4, 20 + 12 * site.medium)
    canvas.paint(np.maximum(stomach + 4, y - level), -960.0)
