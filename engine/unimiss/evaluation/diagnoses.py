"""Scores of a classification, and what they are together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unimiss.evaluation.decisions import METRICS, Decision
from unimiss.evaluation.problems import Problem
from unimiss.evaluation.report import plain
from unimiss.evaluation.statistics import (
    RESAMPLES,
    Figures,
    Interval,
    bootstrap,
    number,
    span,
    weighted_means,
)
from unimiss.evaluation.tables import SEPARATOR

_ACCURACY = METRICS.index("accuracy")


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What was predicted of one image, and what is true.

    Attributes
    ----------
    name : str
        The image's file name.
    probabilities : array of float, shape (classes,)
        0 to 1.
    decided, true : array of bool, shape (classes,)
        What the model decided for; what is there.
    patient : str
        Whose image it is; "" where that is not known.
    image : Path
        Where it lies if the table says so.
    """

    name: str
    probabilities: Figures
    decided: NDArray[np.bool_]
    true: NDArray[np.bool_]
    patient: str
    image: Path

    @property
    def wrongness(self) -> float:
        """Largest distance of a probability from the truth."""
        return float(np.abs(self.probabilities - self.true).max())


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; NaN where it is not defined."""

    value: float
    interval: Interval

    def __str__(self) -> str:
        defined = not math.isnan(self.interval[0])
        return number(self.value) + (f" ({span(self.interval)})" if defined else "")


@dataclass(frozen=True)
class ClassificationReport:
    """Scores of a classification's images.

    Attributes
    ----------
    classes : tuple of str
        In the order of the table.
    exclusive : bool
        Whether an image has exactly one of them.
    cases : tuple of Diagnosis
        What could be scored.
    problems : tuple of Problem
        What could not: it counts in no figure.
    resamples, seed : int
        Of the intervals.
    """

    classes: tuple[str, ...]
    exclusive: bool
    cases: tuple[Diagnosis, ...]
    problems: tuple[Problem, ...] = ()
    resamples: int = RESAMPLES
    seed: int = 0

    @property
    def patients(self) -> int:
        """How many patients were scored; 0 where not one is known."""
        return len({case.patient for case in self.cases if case.patient})

    @property
    def kind(self) -> str:
        """What was decided: "binary", "multi-class" or "multi-label"."""
        if not self.exclusive:
            return "multi-label"
        return "binary" if len(self.classes) == 2 else "multi-class"

    @property
    def overall(self) -> str:
        """What the overall figures are, in words."""
        if self.kind == "binary":
            return f"positive: {self.classes[-1]}"
        return "mean over classes"

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Each class against the rest."""
        probabilities, decided, true = (
            np.stack([getattr(case, name) for case in self.cases])
            for name in ("probabilities", "decided", "true")
        )
        return tuple(
            Decision(probabilities[:, place], decided[:, place], true[:, place])
            for place in range(len(self.classes))
        )

    @cached_property
    def estimates(self) -> tuple[dict[str, Estimate], ...]:
        """For each class the figures of `Decision.figures` by name; those overall are last.

        Overall are, of two exclusive classes, the figures of the second; else the means over the classes in
        which a figure is defined, and of exclusive classes as accuracy the share of images decided rightly.
        """
        groups = [case.patient or place for place, case in enumerate(self.cases)]
        values = self._figures(np.ones(len(self.cases)))
        low, high = bootstrap(self._figures, groups, self.resamples, self.seed)
        return tuple(
            {
                metric: Estimate(float(values[row, k]), (float(low[row, k]), float(high[row, k])))
                for k, metric in enumerate(METRICS)
            }
            for row in range(len(self.classes) + 1)
        )

    def confusion(self) -> NDArray[np.intp]:
        """Of exclusive classes: images by true class, down, and decided class, across."""
        counts = np.zeros((len(self.classes),) * 2, np.intp)
        for case in self.cases:
            counts[case.true.argmax(), case.decided.argmax()] += 1
        return counts

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows for a screen: figures of each class against the rest, overall last."""
        header = ("class", "images", "AUC", "interval", "AP", "acc.", "sens.", "spec.", "ECE", "Brier")
        counts = [int(decision.positive.sum()) for decision in self.decisions]
        named = zip((*self.classes, f"overall ({self.overall})"), (*counts, len(self.cases)), strict=True)
        rows: list[tuple[str, ...]] = []
        for (name, count), found in zip(named, self.estimates, strict=True):
            auc, *others = (number(found[metric].value) for metric in METRICS)
            rows.append((name, str(count), auc, span(found["auc"].interval), *others))
        return header, rows

    def to_json(self) -> dict[str, Any]:
        """Everything as values that JSON holds; a figure that is not defined is None."""
        *classes, overall = (
            {metric: plain(asdict(estimate)) for metric, estimate in figures.items()}
            for figures in self.estimates
        )
        return {
            "task": "classification",
            "kind": self.kind,
            "resamples": self.resamples,
            "seed": self.seed,
            "patients": self.patients or None,
            "overall": {"of": self.overall, **overall},
            "classes": dict(zip(self.classes, classes, strict=True)),
            "confusion": self.confusion().tolist() if self.exclusive else None,
            "cases": [
                {
                    "name": case.name,
                    "true": self.names(case.true),
                    "decided": self.names(case.decided),
                    "probabilities": case.probabilities.tolist(),
                }
                for case in self.cases
            ],
            "problems": [asdict(problem) for problem in self.problems],
        }

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Lines of the CSV: an image each, its header first; what was left out is last."""
        yield ("case", "reference", "label", "correct", *self.classes, "problem")
        for case in self.cases:
            labels = (SEPARATOR.join(self.names(case.true)), SEPARATOR.join(self.names(case.decided)))
            correct = str(int((case.true == case.decided).all()))
            yield (case.name, *labels, correct, *map(repr, case.probabilities.tolist()), "")
        for problem in self.problems:
            yield (problem.case, *[""] * (len(self.classes) + 3), problem.reason)

    def names(self, places: NDArray[np.bool_]) -> list[str]:
        """Names of the classes at the places that are true."""
        return [name for name, there in zip(self.classes, places, strict=True) if there]

    def _figures(self, weights: Figures) -> Figures:
        """Of each class, and overall in the last row, shape (classes + 1, metrics)."""
        classes = np.stack([decision.figures(weights) for decision in self.decisions])
        if self.kind == "binary":
            return np.concatenate([classes, classes[-1:]])
        overall = weighted_means(classes, np.ones(len(classes)))
        if self.exclusive:
            overall[_ACCURACY] = weights @ self._right / weights.sum()
        return np.concatenate([classes, overall[None]])

    @cached_property
    def _right(self) -> NDArray[np.bool_]:
        return np.array([(case.true == case.decided).all() for case in self.cases])
