"""One door to both kinds of evaluation, and what they leave on the disk."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from unimiss.evaluation.classes_page import classes_page
from unimiss.evaluation.classification import evaluate_predictions
from unimiss.evaluation.diagnoses import ClassificationReport
from unimiss.evaluation.folder import Listener, evaluate_folder
from unimiss.evaluation.masks import TOLERANCE
from unimiss.evaluation.masks_page import masks_page
from unimiss.evaluation.pairs import class_folders
from unimiss.evaluation.report import Report
from unimiss.evaluation.statistics import RESAMPLES
from unimiss.io import suffix_of
from unimiss.runs import atomic

AnyReport = Report | ClassificationReport


def evaluate(
    predictions: Path,
    references: Path,
    listener: Listener | None = None,
    *,
    images: Path | None = None,
    tolerance: float = TOLERANCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> AnyReport:
    """Score a classification where predictions are a table, or a folder with one and no mask; else masks.

    Parameters and errors are those of `evaluate_predictions` and `evaluate_folder`.
    """
    table = _table(Path(predictions))
    if table is None:
        return evaluate_folder(
            predictions,
            references,
            listener,
            images=images,
            tolerance=tolerance,
            resamples=resamples,
            seed=seed,
        )
    return evaluate_predictions(table, Path(references), images=images, resamples=resamples, seed=seed)


def write_csv(report: AnyReport, path: Path) -> None:
    """Write a line for each case (and class, of masks), and for each that was left out.

    Raises
    ------
    JobError
        The disk is full or the folder may not be written.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(report.rows())
    atomic.write_text(path, text.getvalue())


def write_report(report: AnyReport, path: Path) -> Path:
    """Write the page to a file ``.html``; or to a folder, with ``cases.csv`` and ``scores.json``.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    JobError
        The disk is full or the folder may not be written.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        write_csv(report, path / "cases.csv")
        atomic.write_json(path / "scores.json", report.to_json())
        path /= "report.html"
    page = masks_page(report) if isinstance(report, Report) else classes_page(report)
    page.write(path)
    return path


def _table(predictions: Path) -> Path | None:
    if predictions.suffix.lower() == ".csv":
        return predictions
    if not predictions.is_dir() or any(suffix_of(path) for path in predictions.iterdir()):
        return None
    if class_folders(predictions):
        return None
    tables = list(predictions.glob("*.csv"))
    return tables[0] if len(tables) == 1 else None
