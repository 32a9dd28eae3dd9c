"""Classes of files, in one table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from unimiss.data.cases import case_name
from unimiss.errors import InputError
from unimiss.inference.cases import Case, find_cases, predict_each
from unimiss.inference.predictor import Predictor
from unimiss.io import Image, is_dicom
from unimiss.runs import atomic

TABLE = "predictions.csv"


def classify_files(
    predictor: Predictor,
    inputs: Sequence[Path],
    output: Path,
    *,
    progress: Callable[[float, str], None],
    warn: Callable[[str], None],
) -> Path:
    """Classify files and folders into ``predictions.csv`` in a folder.

    It has a line for each case: ``image``, its file name, or its path where two have the same name;
    ``label``, its class, of overlapping ones all of them joined by ``|``; then the probability of each class.
    When the work ends early, the table holds what was done.

    Parameters
    ----------
    predictor : Predictor
        The model.
    inputs : sequence of Path
        Images or folders of images; of several modalities as `predict_files` takes them.
    output : Path
        Folder for the table.
    progress : callable
        Receives the finished share, 0 to 1, and the current case's name.
    warn : callable
        Receives a sentence for each case that could not be classified.

    Returns
    -------
    Path
        The table.

    Raises
    ------
    InputError
        No input can be used.
    JobError
        Some inputs could not be classified, or the table could not be written.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; the table needs a folder")
    cases = find_cases(inputs, predictor.preprocessing.files, warn)
    images = _unique_names(cases)
    rows: list[list[str]] = []

    def work(image: Image, report: Callable[[float], None]) -> dict[str, float]:
        return predictor.classify(image)

    try:
        for i, found in predict_each(cases, work, done="classified", progress=progress, warn=warn):
            label = "|".join(predictor.decide(found))
            rows.append([images[i], label, *(f"{probability:.6f}" for probability in found.values())])
    finally:
        if rows:
            text = io.StringIO()
            names = ["image", "label", *predictor.labels.values()]
            csv.writer(text, lineterminator="\n").writerows([names, *rows])
            atomic.write_text(output / TABLE, text.getvalue())
    return output / TABLE


def _unique_names(cases: Sequence[Case]) -> list[str]:
    """File names, paths where two are the same; of DICOM the case's name, for both may hold the patient's."""
    names = [case_name(case) if is_dicom(case[0]) else case[0].name for case in cases]
    counts = Counter(names)
    return [
        str(case[0]) if counts[name] > 1 and not is_dicom(case[0]) else name
        for case, name in zip(cases, names, strict=True)
    ]
