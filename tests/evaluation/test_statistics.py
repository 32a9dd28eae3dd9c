from __future__ import annotations

import math

import numpy as np
import pytest

from unimiss.evaluation.statistics import bootstrap, describe, weighted_means


def mean(values: np.ndarray):
    return lambda weights: np.atleast_1d(weights @ values / weights.sum())


def test_the_interval_of_a_mean_is_that_of_the_normal_law_for_many_independent_cases() -> None:
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap(mean(values), range(400), resamples=2000)
    half = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert (low[0], high[0]) == (
        pytest.approx(values.mean() - half, abs=half / 8),
        pytest.approx(values.mean() + half, abs=half / 8),
    )


def test_images_of_the_same_patient_do_not_count_as_more_cases() -> None:
    values = np.random.default_rng(1).normal(size=50)
    alone = bootstrap(mean(values), range(50), resamples=400, seed=3)
    repeated = np.repeat(values, 10)
    np.testing.assert_allclose(bootstrap(mean(repeated), np.repeat(range(50), 10), 400, seed=3), alone)
    low, high = bootstrap(mean(repeated), range(500), resamples=400)
    assert (high - low)[0] < 0.5 * (alone[1] - alone[0])[0]


def test_the_same_seed_gives_the_same_interval_and_another_gives_another() -> None:
    values = np.arange(20.0)
    first, again, other = (bootstrap(mean(values), range(20), 50, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_one_patient_has_no_interval_and_neither_has_what_most_draws_leave_undefined() -> None:
    assert np.isnan(bootstrap(mean(np.arange(4.0)), ["a"] * 4)).all()
    rare = np.array([1.0] + [math.nan] * 9)
    ends = bootstrap(lambda weights: weighted_means(rare[:, None], weights), range(10), 200)
    assert ends[:, 0].tolist() == [1, 1]  # drawn in two of three
    assert np.isnan(bootstrap(lambda weights: np.array([math.nan]), range(10), 20)).all()


def test_spread_is_that_of_the_cases_in_which_a_score_is_defined() -> None:
    found = describe(np.array([1.0, math.nan, 3.0, 5.0, 7.0]), (2, 6), 4)
    assert (found.n, found.mean, found.median, found.q1, found.q3) == (4, 4, 4, 2.5, 5.5)
    assert (found.lowest, found.highest, found.interval) == (1, 7, (2, 6))
    assert found.sd == pytest.approx(np.std([1, 3, 5, 7], ddof=1))
    assert describe(np.array([math.nan]), (0, 0), math.nan).n == 0
