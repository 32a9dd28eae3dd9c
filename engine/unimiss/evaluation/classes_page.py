"""The page of a classification's report."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from unimiss.errors import InputError
from unimiss.evaluation.decisions import BINS, METRICS, Decision
from unimiss.evaluation.diagnoses import ClassificationReport, Diagnosis
from unimiss.evaluation.figures import Plot, colour
from unimiss.evaluation.page import Page, Picture, Table, interval_term
from unimiss.evaluation.pictures import image_picture
from unimiss.io import read

_PICTURES = 8
_POINTS = 1000  # of a curve, so that a page of many images stays small
_CURVES = 12  # colours, and lines that an eye can follow


def classes_page(report: ClassificationReport) -> Page:
    """Lay out a report; the worst cases' images are read to be shown."""
    header, rows = report.table()
    ranked = sorted(report.cases, key=lambda case: -case.wrongness)
    wrong = [case for case in ranked if not (case.true == case.decided).all()]
    return Page(
        title=f"Classification ({report.kind}): predictions against references",
        facts=[
            ("images scored", str(len(report.cases))),
            ("left out", str(len(report.problems))),
            ("patients", str(report.patients) if report.patients else "not known; each image counts as one"),
            ("classes", ", ".join(report.classes)),
            ("overall", report.overall),
        ],
        problems=report.problems,
        means=Table("Each class against the rest", header, rows),
        tables=[_intervals(report), *([_confusion(report)] if report.exclusive else [])],
        plots=_plots(report),
        pictures=[_picture(case, report) for case in wrong[:_PICTURES]],
        pictures_note="Wrong decisions, the surest first. Of a volume its middle slice.",
        cases=_cases(report, ranked),
        terms=_terms(report),
    )


def _intervals(report: ClassificationReport) -> Table:
    names = (*report.classes, "overall")
    titles = ("AUC", "AP", "accuracy", "sensitivity", "specificity", "ECE", "Brier")
    rows = [
        (name, *(str(figures[metric]) for metric in METRICS))
        for name, figures in zip(names, report.estimates, strict=True)
    ]
    return Table("With 95 % intervals", ("class", *titles), rows)


def _confusion(report: ClassificationReport) -> Table:
    rows = [
        (name, *map(str, counts))
        for name, counts in zip(report.classes, report.confusion().tolist(), strict=True)
    ]
    return Table("Confusion: true class down, decision across", ("", *report.classes), rows)


def _plots(report: ClassificationReport) -> list[Plot]:
    unit = (0.0, 1.0)
    roc = Plot("ROC", "1 - specificity", "sensitivity", unit, unit)
    recall = Plot("Precision and recall", "recall", "precision", unit, unit)
    calibration = Plot("Calibration", "probability", "frequency", unit, unit)
    for plot in (roc, calibration):
        plot.line(unit, unit, "#888", dashed=True)
    drawn = []
    for place, name, decision in _drawn(report):
        true, false = decision.curve(_POINTS)
        positives, negatives = true[-1], false[-1]
        if positives and negatives:
            roc.line(false / negatives, true / positives, colour(place))
        if positives:
            recall.line(true[1:] / positives, true[1:] / (true + false)[1:], colour(place))
        probability, frequency, counts = decision.calibration()
        calibration.line(probability, frequency, colour(place))
        calibration.dots(
            probability, frequency, colour(place), [f"{name}: {count} images" for count in counts]
        )
        drawn.append((name, colour(place)))
    for plot in (roc, calibration):
        plot.legend(drawn)
    return [roc, recall, calibration]


def _drawn(report: ClassificationReport) -> list[tuple[int, str, Decision]]:
    """Classes to draw: of two exclusive ones the positive, for the other's curves say the same."""
    everything = list(zip(range(len(report.classes)), report.classes, report.decisions, strict=True))
    return everything[-1:] if report.kind == "binary" else everything[:_CURVES]


def _picture(case: Diagnosis, report: ClassificationReport) -> Picture:
    caption = f"{case.name}: is {_names(report, case.true)}, taken for {_names(report, case.decided)}"
    try:
        return Picture(image_picture(read(case.image)), caption)
    except InputError:
        return Picture(None, f"{caption} (its image is not where the table says)")


def _cases(report: ClassificationReport, ranked: list[Diagnosis]) -> Table:
    rows = [
        (
            case.name,
            _names(report, case.true),
            _names(report, case.decided),
            *(f"{value:.3f}" for value in case.probabilities),
        )
        for case in ranked
    ]
    return Table(
        "Every image, the most wrong first", ("image", "reference", "decision", *report.classes), rows
    )


def _names(report: ClassificationReport, places: NDArray[np.bool_]) -> str:
    return ", ".join(report.names(places)) or "none"


def _terms(report: ClassificationReport) -> list[tuple[str, str]]:
    overall = {
        "binary": f"the figures of {report.classes[-1]}, the positive class.",
        "multi-class": "means over the classes in which a figure is defined (macro average); accuracy is the "
        "share of images decided rightly.",
        "multi-label": "means over the classes in which a figure is defined (macro average).",
    }
    return [
        (
            "AUC, AP",
            "area under the ROC curve, ties counting half; average precision, not interpolated.",
        ),
        ("accuracy, sensitivity, specificity", "of the decisions, the column label of the predictions."),
        (
            "ECE",
            f"expected calibration error: the mean distance of probability and frequency in {BINS} equal "
            "bins of the class's probability, weighted by images.",
        ),
        ("Brier", "mean squared distance of the class's probability from the truth, 0 or 1."),
        ("overall", overall[report.kind]),
        (
            "not defined",
            "a class without positive images has no AUC, AP and sensitivity; one without others no "
            "AUC and specificity. A dash says so.",
        ),
        (
            "left out",
            "an image without prediction, or with a damaged row, counts in no figure; it is listed above.",
        ),
        interval_term(report.patients, report.resamples, report.seed),
    ]
