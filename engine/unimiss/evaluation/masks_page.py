"""The page of a segmentation's report."""

from __future__ import annotations

import math

from unimiss.errors import InputError
from unimiss.evaluation.figures import Plot, colour, sideways
from unimiss.evaluation.page import Page, Picture, Table, interval_term
from unimiss.evaluation.pictures import mask_picture, worst_slice
from unimiss.evaluation.planes import where_known
from unimiss.evaluation.report import CaseScores, Report
from unimiss.evaluation.statistics import number, span
from unimiss.geometry import Geometry
from unimiss.io import Image, read

_PICTURES = 6


def masks_page(report: Report) -> Page:
    """Lay out a report; the worst cases are read again to be drawn."""
    header, rows = report.table()
    ranked = sorted(report.cases, key=_dice_first)
    return Page(
        title="Segmentation: masks against references",
        facts=_facts(report),
        problems=report.problems,
        means=Table(
            "Means",
            header,
            rows,
            "Behind HD95: the number of cases in which distances are defined, where they are fewer.",
        ),
        tables=_spreads(report),
        plots=_plots(report),
        pictures=[_picture(case, report) for case in ranked[:_PICTURES]],
        pictures_note="Lowest mean Dice. Solid: reference; dashed and lighter: prediction; a colour a class, "
        "as in the plots. Of a volume the slice with most wrong voxels, cropped to what is outlined.",
        cases=_cases(report, ranked),
        terms=_terms(report),
    )


def _facts(report: Report) -> list[tuple[str, str]]:
    patients = str(report.patients) if report.patients else "not known; each case counts as one"
    return [
        ("cases scored", str(len(report.cases))),
        ("left out", str(len(report.problems))),
        ("patients", patients),
        ("classes", ", ".join(report.labels.values())),
        ("tolerance of the surface Dice", f"{report.tolerance:g} {report.units}"),
    ]


def _spreads(report: Report) -> list[Table]:
    shown = (
        ("dice", "Dice", 3),
        ("hd95", f"HD95, {report.units}", 2),
        ("assd", f"ASSD, {report.units}", 2),
        ("surface_dice", "surface Dice", 3),
        ("volume", "volume of the prediction, ml", 1),
        ("reference_volume", "volume of the reference, ml", 1),
    )
    header = ("class", "cases", "mean", "interval", "SD", "median", "quartiles", "lowest", "highest")
    tables = []
    for metric, title, digits in shown:
        if not any(scores[metric].n for scores in report.statistics):
            continue
        rows = []
        for name, scores in zip((*report.labels.values(), "mean"), report.statistics, strict=True):
            found = scores[metric]
            figures = (found.mean, found.sd, found.median, found.lowest, found.highest)
            mean, sd, median, lowest, highest = (number(value, digits) for value in figures)
            quartiles = span((found.q1, found.q3), digits)
            interval = span(found.interval, digits)
            rows.append((name, str(found.n), mean, interval, sd, median, quartiles, lowest, highest))
        tables.append(Table(f"Spread: {title}", header, rows))
    return tables


def _plots(report: Report) -> list[Plot]:
    plots = [_strip(report, "dice", "Dice by class", "Dice", 1.0)]
    worst = max((max(s.hd95, 0) for c in report.cases for s in c.scores.values() if s.hd95 > 0), default=0)
    if worst:
        plots.append(_strip(report, "hd95", "HD95 by class", f"HD95, {report.units}", worst * 1.05))
    volumes = _volumes(report)
    return [*plots, volumes] if volumes else plots


def _strip(report: Report, metric: str, title: str, up: str, top: float) -> Plot:
    names = list(report.labels.values())
    plot = Plot(
        title, "", up, (-0.6, len(names) - 0.4), (0, top), names, width=max(380, 100 + 34 * len(names))
    )
    for place, label in enumerate(report.labels):
        scored = [(getattr(c.scores[label], metric), c.name) for c in report.cases if label in c.scores]
        known = [(value, name) for value, name in scored if not math.isnan(value)]
        places = place + sideways(len(known))
        plot.dots(places, [value for value, _ in known], colour(place), [name for _, name in known])
        found = report.statistics[place][metric]
        if found.n > 1:
            plot.box(place, found.q1, found.median, found.q3)
    return plot


def _volumes(report: Report) -> Plot | None:
    points = {
        label: [(s.reference_volume, s.volume, c.name) for c in report.cases if (s := c.scores.get(label))]
        for label in report.labels
    }
    largest = max((v for group in points.values() for a, b, _ in group for v in (a, b) if v > 0), default=0)
    if not largest:
        return None
    top = largest * 1.05
    plot = Plot("Volumes", "reference, ml", "prediction, ml", (0, top), (0, top))
    plot.line((0, top), (0, top), "#888", dashed=True)
    for place, group in enumerate(points.values()):
        known = [point for point in group if not math.isnan(point[0])]
        plot.dots([a for a, _, _ in known], [b for _, b, _ in known], colour(place), [n for _, _, n in known])
    return plot


def _picture(case: CaseScores, report: Report) -> Picture:
    caption = f"{case.name}: Dice {number(_mean_dice(case))}"
    try:
        prediction, _ = case.prediction.read(case.parts[0])
        reference, grid = case.reference.read(case.parts[1])
        prediction, reference = where_known(prediction, reference, case.unknown)
    except InputError:  # moved or changed since it was scored
        return Picture(None, f"{caption} (its masks can no longer be read)")
    image, labels = _image(case, grid), list(report.labels)
    axis, index = worst_slice(prediction, reference, labels, grid)
    if axis is not None:
        caption += f", slice {index + 1} of {grid.shape[axis]}"
    png = mask_picture(prediction, reference, labels, image, grid, (axis, index))
    return Picture(png, caption if image is not None else f"{caption} (without its image)")


def _image(case: CaseScores, grid: Geometry) -> Image | None:
    """Image of a case, if it is there and lies on the masks' grid."""
    if case.image is None:
        return None
    try:
        image = read(case.image)
    except InputError:
        return None
    return image if grid.difference(image.geometry) is None else None


def _cases(report: Report, ranked: list[CaseScores]) -> Table:
    names = list(report.labels.values())
    rows = []
    for case in ranked:
        scores = [case.scores.get(label) for label in report.labels]
        dice = [number(math.nan if score is None else score.dice) for score in scores]
        rows.append((case.name, number(_mean_dice(case)), *dice))
    return Table("Dice of every case, the lowest first", ("case", "mean", *names), rows)


def _mean_dice(case: CaseScores) -> float:
    defined = [score.dice for score in case.scores.values() if not math.isnan(score.dice)]
    return sum(defined) / len(defined) if defined else math.nan


def _dice_first(case: CaseScores) -> tuple[bool, float]:
    dice = _mean_dice(case)
    return math.isnan(dice), dice


def _terms(report: Report) -> list[tuple[str, str]]:
    return [
        (
            "Dice, IoU",
            "twice the common voxels over the sum of both; the common voxels over those of either.",
        ),
        (
            "HD95, ASSD",
            f"distances in {report.units} between the surface voxels of both masks: the larger of both "
            "directions' 95th percentile; the mean over both (average symmetric surface distance).",
        ),
        (
            "surface Dice",
            f"share of both masks' surface voxels within {report.tolerance:g} {report.units} of the "
            "other surface.",
        ),
        ("volume", "millilitres; not defined for flat images."),
        (
            "empty masks",
            "a class in neither mask has no score in that case and is left out of its mean; a class in "
            "only one of them has Dice, IoU and surface Dice 0 and no distance.",
        ),
        ("left out", "a missing, damaged or misplaced mask counts in no figure; it is listed above."),
        (
            "mean",
            "over the cases in which a score is defined; the last row is the mean of the classes' means, its "
            "spread that of the cases' means.",
        ),
        interval_term(report.patients, report.resamples, report.seed),
    ]
