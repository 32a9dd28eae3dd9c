"""Scoring a folder of masks against a folder of references."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from unimiss.errors import InputError
from unimiss.evaluation.legends import IGNORED, Legend, agree, most_classes, read_legends, row_legend
from unimiss.evaluation.masks import TOLERANCE, refuse_other_grid, score_planes
from unimiss.evaluation.pairs import MaskPair, pair_masks
from unimiss.evaluation.planes import MaskFiles, Planes, where_known
from unimiss.evaluation.problems import Problem, without_folders
from unimiss.evaluation.report import CaseScores, Report
from unimiss.evaluation.statistics import RESAMPLES
from unimiss.evaluation.tables import trail
from unimiss.geometry import Geometry

Listener = Callable[[float, str], None]


def evaluate_folder(
    predictions: Path,
    references: Path,
    listener: Listener | None = None,
    *,
    images: Path | None = None,
    tolerance: float = TOLERANCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Report:
    """Score masks against the references of the same name, whatever their suffixes, or one file against one.

    Classes are those that ``labels.json`` beside the predictions names, else those of the references' data
    set (``dataset.json`` beside their folder), else all values found. Where classes overlap, a mask has a
    channel for each of them, or a file in a folder of its name (``heart/a.png``); see `legends`. Voxels that
    the references call "ignore" are not scored. A mask that is missing, damaged, has no partner or lies on
    another grid is left out and said so in the report.

    Parameters
    ----------
    predictions, references : path
        Two folders, two files, or a file and the folder of its partner. References may be a table
        ``image,label[,patient]`` (see `unimiss.evaluation.tables`) with the paths of the masks.
    listener : callable, optional
        Receives the finished share, 0 to 1, and the name of the case just scored.
    images : path, optional
        What the masks are drawn on in the report, and what a table's images are relative to; else
        ``imagesTs`` beside ``labelsTs`` is looked for, and a table's own folder is taken.
    tolerance : float
        Of the surface Dice, in mm; in pixels for pictures without size.
    resamples, seed : int
        Of the intervals.

    Raises
    ------
    InputError
        A path does not exist, label names cannot be read, or not one mask could be scored.
    """
    predictions, references = Path(predictions), Path(references)
    pairs, problems = pair_masks(predictions, references, images)
    legends = read_legends(predictions, references)
    classes = most_classes(pair.reference for pair in pairs)
    cases: list[CaseScores] = []
    labels: dict[int, str] = {}
    for done, pair in enumerate(pairs, start=1):
        name = trail(pair.prediction.path)[0]
        try:
            case, found = _case(name, pair, legends, classes, tolerance)
        except InputError as error:
            reason = without_folders(str(error), *pair.prediction.files, *pair.reference.files)
            problems.append(Problem(pair.prediction.path.name, "unusable", reason))
        else:
            cases.append(case)
            labels |= found
        if listener is not None:
            listener(done / len(pairs), name)
    if not cases:
        raise InputError(f"no mask of {predictions} could be scored; {problems[0]}")
    if not any((*legends, *classes)):
        labels = dict(sorted(labels.items()))
    return Report(labels, tuple(cases), tuple(problems), tolerance, resamples, seed)


def _case(
    name: str,
    pair: MaskPair,
    legends: tuple[Legend, Legend],
    classes: tuple[str, ...],
    tolerance: float,
) -> tuple[CaseScores, dict[int, str]]:
    """Score a case; also return the names of its classes."""
    predicted, grid = _read("prediction", pair.prediction)
    true, geometry = _read("reference", pair.reference)
    try:
        refuse_other_grid(grid, geometry)
        ours, theirs = legends[0], row_legend(pair.reference, classes, ordered=not legends[0]) or legends[1]
        unknown = theirs.get(IGNORED, ())
        predicted, true = where_known(predicted, true, unknown)
        found = agree(ours, theirs, predicted, true)
    except InputError as error:  # about images; the user knows files
        raise InputError(f"{pair.prediction.path.name}: {error}") from error
    predicted, true = replace(predicted, parts=found.predicted), replace(true, parts=found.true)
    scores = score_planes(predicted, true, geometry, found.labels, tolerance)
    parts = found.predicted, found.true
    files = pair.prediction, pair.reference
    case = CaseScores(name, *files, geometry.units, scores, pair.patient, pair.image, parts, unknown)
    return case, found.labels


def _read(who: str, mask: MaskFiles) -> tuple[Planes, Geometry]:
    try:
        return mask.read()
    except InputError as error:
        raise InputError(f"{who} {error}") from error
