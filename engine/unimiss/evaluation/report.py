"""Scores of many masks, and what they are together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from unimiss.evaluation.masks import TOLERANCE, Scores
from unimiss.evaluation.planes import MaskFiles, Parts
from unimiss.evaluation.problems import Problem
from unimiss.evaluation.statistics import (
    RESAMPLES,
    Figures,
    Statistics,
    bootstrap,
    describe,
    number,
    span,
    weighted_means,
)
from unimiss.geometry import Units

METRICS = tuple(field.name for field in fields(Scores))


@dataclass(frozen=True)
class CaseScores:
    """Scores of one prediction.

    Attributes
    ----------
    name : str
        File name without suffix.
    prediction, reference : MaskFiles
        The files.
    units : "mm" or "pixel"
        Of the surface distances.
    scores : dict of int to Scores
        By label value.
    patient : str
        Whose image it is; "" where that is not known.
    image : Path or None
        What the masks were drawn on.
    parts : tuple of mapping
        What each class is in the prediction, and in the reference; see `Planes`.
    unknown : tuple of int
        What marks voxels of the reference that nobody labelled; they are not scored.
    """

    name: str
    prediction: MaskFiles
    reference: MaskFiles
    units: Units
    scores: dict[int, Scores]
    patient: str = ""
    image: Path | None = None
    parts: tuple[Parts, Parts] = field(default_factory=lambda: ({}, {}))
    unknown: tuple[int, ...] = ()


@dataclass(frozen=True)
class Report:
    """Scores of a segmentation's cases. Means leave out what is not defined; see `Scores`.

    Attributes
    ----------
    labels : dict of int to str
        Scored values and their names, without background.
    cases : tuple of CaseScores
        What could be scored.
    problems : tuple of Problem
        What could not: it counts in no mean.
    tolerance : float
        Of the surface Dice, in the cases' units.
    resamples, seed : int
        Of the intervals.
    """

    labels: dict[int, str]
    cases: tuple[CaseScores, ...]
    problems: tuple[Problem, ...] = ()
    tolerance: float = TOLERANCE
    resamples: int = RESAMPLES
    seed: int = 0

    @property
    def units(self) -> str:
        """Of the surface distances."""
        return " or ".join(sorted({case.units for case in self.cases}))

    @property
    def patients(self) -> int:
        """How many patients were scored; 0 where not one is known."""
        return len({case.patient for case in self.cases if case.patient})

    def by_class(self) -> dict[int, Scores]:
        """Mean over the cases in which a score is defined, for each label."""
        return dict(zip(self.labels, map(_scores, self._means(self._ones)[:-1]), strict=True))

    def mean(self) -> Scores:
        """Mean over the classes of `by_class`."""
        return _scores(self._means(self._ones)[-1])

    @cached_property
    def statistics(self) -> tuple[dict[str, Statistics], ...]:
        """For each label its scores' statistics by name; those of the mean over classes are last.

        The mean over classes has its own centre and interval: the mean of the classes' means. Its median and
        spread are those of the cases' means over their classes.
        """
        groups = [case.patient or place for place, case in enumerate(self.cases)]
        intervals = bootstrap(self._means, groups, self.resamples, self.seed)
        means = self._means(self._ones)
        over_classes = weighted_means(np.moveaxis(self._values, 1, 0), np.ones(len(self.labels)))
        values = np.concatenate([self._values, over_classes[:, None]], axis=1)
        return tuple(
            {
                metric: describe(
                    values[:, row, column], _ends(intervals[:, row, column]), float(means[row, column])
                )
                for column, metric in enumerate(METRICS)
            }
            for row in range(len(self.labels) + 1)
        )

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows for a screen: a class, its cases, its means; the overall mean is last."""
        surface = f"surface Dice {self.tolerance:g} {self.units}"
        header = (
            "class",
            "cases",
            "Dice",
            "interval",
            "IoU",
            f"HD95 {self.units}",
            f"ASSD {self.units}",
            surface,
        )
        rows: list[tuple[str, ...]] = []
        for name, scores in zip((*self.labels.values(), "mean"), self.statistics, strict=True):
            dice, measured = scores["dice"], scores["hd95"].n
            note = f" (n={measured})" if 0 < measured < dice.n else ""
            overlap = (name, str(dice.n), number(dice.mean), span(dice.interval), number(scores["iou"].mean))
            distances = (number(scores["hd95"].mean, 2) + note, number(scores["assd"].mean, 2))
            rows.append((*overlap, *distances, number(scores["surface_dice"].mean)))
        return header, rows

    def to_json(self) -> dict[str, Any]:
        """Everything as values that JSON holds; a score that is not defined is None."""
        *classes, overall = (
            {metric: plain(asdict(value)) for metric, value in scores.items()} for scores in self.statistics
        )
        return {
            "task": "segmentation",
            "labels": {str(label): name for label, name in self.labels.items()},
            "tolerance": self.tolerance,
            "resamples": self.resamples,
            "seed": self.seed,
            "patients": self.patients or None,
            "mean": plain(asdict(self.mean())),
            "classes": {self.labels[label]: plain(asdict(mean)) for label, mean in self.by_class().items()},
            "statistics": {"mean": overall, "classes": dict(zip(self.labels.values(), classes, strict=True))},
            "cases": [
                {
                    "name": case.name,
                    "units": case.units,
                    "classes": {
                        self.labels[label]: plain(asdict(score)) for label, score in case.scores.items()
                    },
                }
                for case in self.cases
            ],
            "problems": [asdict(problem) for problem in self.problems],
        }

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Lines of the CSV: a case and a class each, its header first; what was left out is last."""
        yield ("case", "class", *METRICS, "units", "problem")
        for case in self.cases:
            for label, scores in case.scores.items():
                cells = ("" if math.isnan(value) else repr(value) for value in asdict(scores).values())
                yield (case.name, self.labels[label], *cells, case.units, "")
        for problem in self.problems:
            yield (problem.case, "", *[""] * (len(METRICS) + 1), problem.reason)

    @cached_property
    def _values(self) -> Figures:
        """All scores, shape (cases, classes, metrics)."""
        undefined = Scores()
        return np.array(
            [
                [
                    [getattr(case.scores.get(label, undefined), metric) for metric in METRICS]
                    for label in self.labels
                ]
                for case in self.cases
            ],
            dtype=float,
        ).reshape(len(self.cases), len(self.labels), len(METRICS))

    @property
    def _ones(self) -> Figures:
        return np.ones(len(self.cases))

    def _means(self, weights: Figures) -> Figures:
        """Mean of each class, and over them in the last row, shape (classes + 1, metrics)."""
        classes = weighted_means(self._values, weights)
        return np.concatenate([classes, weighted_means(classes, np.ones(len(classes)))[None]])


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Put None, which JSON has, for NaN, which it has not."""

    def one(value: Any) -> Any:
        if isinstance(value, tuple):
            return None if any(math.isnan(end) for end in value) else list(value)
        return None if isinstance(value, float) and math.isnan(value) else value

    return {name: one(value) for name, value in values.items()}


def _scores(row: Figures) -> Scores:
    return Scores(*row.tolist())


def _ends(pair: Figures) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])
