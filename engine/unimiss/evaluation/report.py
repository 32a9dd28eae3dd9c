"""Scores of many cases, and their means."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from unimiss.evaluation.masks import Scores
from unimiss.geometry import Units


@dataclass(frozen=True)
class CaseScores:
    """Scores of one prediction.

    Attributes
    ----------
    name : str
        File name without suffix.
    prediction, reference : Path
        The files.
    units : "mm" or "pixel"
        Of the surface distances.
    scores : dict of int to Scores
        By label value.
    """

    name: str
    prediction: Path
    reference: Path
    units: Units
    scores: dict[int, Scores]


@dataclass(frozen=True)
class Report:
    """Scores of all cases.

    Attributes
    ----------
    labels : dict of int to str
        Scored values and their names, without background.
    cases : tuple of CaseScores
        What could be scored.
    problems : tuple of str
        One sentence for each mask that was left out.
    """

    labels: dict[int, str]
    cases: tuple[CaseScores, ...]
    problems: tuple[str, ...] = ()

    def by_class(self) -> dict[int, Scores]:
        """Mean over the cases in which a score is defined, for each label."""
        return {label: _mean(self._of(label)) for label in self.labels}

    def mean(self) -> Scores:
        """Mean over the classes of `by_class`."""
        return _mean(self.by_class().values())

    def summary(self) -> list[tuple[str, str, str, str, str]]:
        """Rows of a table: class, number of cases that have it, Dice, IoU, HD95; the overall mean is last."""
        rows = []
        for label, mean in self.by_class().items():
            scores = self._of(label)
            having = sum(not math.isnan(score.dice) for score in scores)
            measured = sum(not math.isnan(score.hd95) for score in scores)
            note = f" ({measured} of {having})" if 0 < measured < having else ""
            rows.append((self.labels[label], str(having), *_numbers(mean, note)))
        return [*rows, ("mean", str(len(self.cases)), *_numbers(self.mean()))]

    def to_json(self) -> dict[str, Any]:
        """Everything as values that JSON holds; a score that is not defined is None."""
        return {
            "labels": {str(label): name for label, name in self.labels.items()},
            "mean": _plain(self.mean()),
            "classes": {self.labels[label]: _plain(mean) for label, mean in self.by_class().items()},
            "cases": [
                {
                    "name": case.name,
                    "prediction": str(case.prediction),
                    "reference": str(case.reference),
                    "units": case.units,
                    "classes": {self.labels[label]: _plain(score) for label, score in case.scores.items()},
                }
                for case in self.cases
            ],
            "problems": list(self.problems),
        }

    def _of(self, label: int) -> list[Scores]:
        return [case.scores[label] for case in self.cases if label in case.scores]


def _mean(scores: Iterable[Scores]) -> Scores:
    rows = list(scores)
    means = {}
    for field in fields(Scores):
        defined = [value for row in rows if not math.isnan(value := getattr(row, field.name))]
        means[field.name] = sum(defined) / len(defined) if defined else math.nan
    return Scores(**means)


def _numbers(scores: Scores, note: str = "") -> tuple[str, str, str]:
    dice, iou, hd95 = (
        "–" if math.isnan(value) else f"{value:.{digits}f}"
        for value, digits in ((scores.dice, 3), (scores.iou, 3), (scores.hd95, 2))
    )
    return dice, iou, hd95 + note


def _plain(scores: Scores) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in asdict(scores).items()}
