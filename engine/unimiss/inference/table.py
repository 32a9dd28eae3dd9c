"""Classes of files, in one table."""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from unimiss.data.cases import case_name
from unimiss.inference.cases import Case, find_cases, make_folder, predict_each
from unimiss.inference.predictor import Predictor
from unimiss.io import Image, is_dicom
from unimiss.runs import atomic

TABLE = "predictions.csv"
_SECONDS_UNSAVED = 2.0


def classify_files(
    predictor: Predictor,
    inputs: Sequence[Path],
    output: Path,
    *,
    hide: bool = False,
    progress: Callable[[float, str], None],
    warn: Callable[[str], None],
) -> Path:
    """Classify files and folders into ``predictions.csv`` in a folder.

    It has a line for each case: ``image``, its file name, or its path where two have the same name;
    ``label``, its class, of overlapping ones all of them joined by ``|``; then the probability of each class.
    The table is written before the first case, and every two seconds from then on: however the work ends, it
    holds what was done.

    Parameters
    ----------
    predictor : Predictor
        The model.
    inputs : sequence of Path
        Images or folders of images; of several modalities as `predict_files` takes them.
    output : Path
        Folder for the table.
    hide : bool
        Leave names of DICOM files and folders, which may be the patient's, out of sentences about cases.
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
    cases = find_cases(inputs, predictor.preprocessing.files, warn)
    images = _unique_names(cases)
    rows = [["image", "label", *predictor.labels.values()]]
    table, saved = output / TABLE, time.monotonic()

    def save() -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        atomic.write_text(table, text.getvalue())

    def work(i: int, image: Image, report: Callable[[float], None]) -> None:
        nonlocal saved
        found = predictor.classify(image)
        label = "|".join(predictor.decide(found))
        rows.append([images[i], label, *(f"{probability:.6f}" for probability in found.values())])
        if time.monotonic() - saved > _SECONDS_UNSAVED:
            save()
            saved = time.monotonic()

    make_folder(output, "the table needs")
    if not table.is_file():  # an older one stays until there is a newer
        save()
    try:
        predict_each(cases, work, done="classified", hide=hide, progress=progress, warn=warn)
    finally:
        if len(rows) > 1:
            save()
    return table


def _unique_names(cases: Sequence[Case]) -> list[str]:
    """File names, paths where two are the same; of DICOM the case's name, for both may hold the patient's."""
    names = [case_name(case) if is_dicom(case[0]) else case[0].name for case in cases]
    counts = Counter(names)
    return [
        str(case[0]) if counts[name] > 1 and not is_dicom(case[0]) else name
        for case, name in zip(cases, names, strict=True)
    ]
