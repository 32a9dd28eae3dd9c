"""What a cohort's figures are: centre, spread, and how far the mean could be off."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
_LEVEL = (2.5, 97.5)  # percentiles of a 95 % interval
_NAN = float("nan")

Figures = NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Statistics:
    """One score over a cohort, over the cases in which it is defined; NaN where there are none.

    Attributes
    ----------
    n : int
        Cases in which the score is defined.
    mean, sd, median, q1, q3, lowest, highest : float
        `sd` is that of a sample (n - 1), so it needs two cases; `q1` and `q3` are the quartiles.
    interval : tuple of float
        95 % interval of the mean, by `bootstrap`.
    """

    n: int
    mean: float = _NAN
    sd: float = _NAN
    median: float = _NAN
    q1: float = _NAN
    q3: float = _NAN
    lowest: float = _NAN
    highest: float = _NAN
    interval: Interval = (_NAN, _NAN)


def number(value: float, digits: int = 3) -> str:
    """Write a figure for people; a dash where it is not defined."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def span(interval: Interval, digits: int = 3) -> str:
    """Write an interval for people; a dash where it is not defined."""
    low, high = interval
    return "–" if math.isnan(low) else f"{low:.{digits}f}–{high:.{digits}f}"


def describe(values: Figures, interval: Interval, mean: float) -> Statistics:
    """Summarise the defined ones of `values`, shape (n,), whose centre and its interval are known."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return Statistics(0)
    lowest, q1, median, q3, highest = np.percentile(defined, (0, 25, 50, 75, 100)).tolist()
    sd = float(defined.std(ddof=1)) if defined.size > 1 else _NAN
    return Statistics(defined.size, mean, sd, median, q1, q3, lowest, highest, interval)


def bootstrap(
    figures: Callable[[Figures], Figures],
    groups: Sequence[Hashable],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Figures:
    """95 % intervals by the percentile bootstrap over groups.

    Groups, which are patients, are drawn with replacement, each with all its cases: two images of a patient
    are not two independent observations, and intervals over images would be too narrow.

    Parameters
    ----------
    figures : callable
        From the weights of the cases, shape (n,), how often each was drawn, to figures of any shape; NaN
        where a figure is not defined for that draw.
    groups : sequence of hashable
        The patient of each case.
    resamples : int
        Number of draws.
    seed : int
        The same seed gives the same intervals.

    Returns
    -------
    array, shape (2, *figures)
        Lower and upper ends. NaN with fewer than two groups, which say nothing about spread, and where most
        draws leave a figure undefined.

    Notes
    -----
    Efron, Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13.
    """
    places: dict[Hashable, int] = {}
    members = np.array([places.setdefault(group, len(places)) for group in groups])
    whole = figures(np.ones(len(members)))
    if len(places) < 2:
        return np.full((2, *whole.shape), _NAN)
    generator = np.random.default_rng(seed)
    drawn = (generator.integers(len(places), size=len(places)) for _ in range(resamples))
    weights = (np.bincount(draw, minlength=len(places))[members].astype(float) for draw in drawn)
    draws = np.stack([figures(times) for times in weights])
    undefined = np.isnan(draws).mean(axis=0) > 0.5
    draws[:, undefined] = 0  # percentiles of nothing would warn
    return np.where(undefined, _NAN, np.nanpercentile(draws, _LEVEL, axis=0))


def weighted_means(values: Figures, weights: Figures) -> Figures:
    """Mean over the first axis, of what is defined there; NaN where nothing is."""
    defined = ~np.isnan(values)
    total = np.tensordot(weights, defined.astype(float), axes=1)
    sums = np.tensordot(weights, np.where(defined, values, 0), axes=1)
    means: Figures = np.divide(sums, total, out=np.full(sums.shape, _NAN), where=total > 0)
    return means
