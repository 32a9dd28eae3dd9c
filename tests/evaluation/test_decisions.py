from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from unimiss.evaluation.decisions import METRICS, Decision


def scores(probability, decided, positive, weights=None):
    decision = Decision(np.array(probability, float), np.array(decided, bool), np.array(positive, bool))
    weights = np.ones(len(probability)) if weights is None else weights
    return dict(zip(METRICS, decision.figures(weights).tolist(), strict=True))


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 20]))
def test_figures_are_those_of_scikit_learn_with_ties_and_weights(seed: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    probability = generator.integers(levels + 1, size=60) / levels
    positive, decided = generator.random(60) < 0.4, probability >= 0.5
    positive[:2] = True, False
    weights = generator.integers(1, 4, size=60).astype(float)
    found = scores(probability, decided, positive, weights)
    given = {"sample_weight": weights}
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(positive, probability, **given))
    assert found["ap"] == pytest.approx(metrics.average_precision_score(positive, probability, **given))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(positive, decided, **given))
    assert found["sensitivity"] == pytest.approx(metrics.recall_score(positive, decided, **given))
    assert found["specificity"] == pytest.approx(metrics.recall_score(~positive, ~decided, **given))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(positive, probability, **given))


def test_a_weight_counts_as_that_many_copies_and_none_as_absence() -> None:
    probability, decided, positive = [0.9, 0.7, 0.4, 0.35, 0.1], [1, 1, 0, 0, 0], [1, 0, 1, 0, 0]
    times = np.array([2, 0, 1, 3, 1])
    copies = (np.repeat(values, times) for values in (probability, decided, positive))
    assert scores(probability, decided, positive, times.astype(float)) == pytest.approx(scores(*copies))


def test_calibration_error_is_the_gap_of_probability_and_frequency() -> None:
    right = scores([0.25] * 4 + [0.75] * 4, [0] * 8, [1, 0, 0, 0, 1, 1, 1, 0])
    assert right["ece"] == pytest.approx(0)
    sure = scores([1.0] * 4, [1] * 4, [1, 1, 0, 0])
    assert (sure["ece"], sure["brier"]) == (0.5, 0.5)
    mixed = scores([0.0, 0.0, 0.9, 0.9], [0] * 4, [0, 1, 1, 1])
    assert mixed["ece"] == pytest.approx(0.5 * 0.5 + 0.5 * 0.1)


def test_what_needs_positive_or_negative_cases_is_undefined_without_them() -> None:
    negative = scores([0.2, 0.8], [0, 1], [0, 0])
    assert all(math.isnan(negative[name]) for name in ("auc", "ap", "sensitivity"))
    assert (negative["specificity"], negative["accuracy"]) == (0.5, 0.5)
    positive = scores([0.2, 0.8], [0, 1], [1, 1])
    assert all(math.isnan(positive[name]) for name in ("auc", "specificity"))
    assert (positive["ap"], positive["sensitivity"]) == (1, 0.5)


def test_curves_run_from_nothing_to_everything_in_few_points() -> None:
    generator = np.random.default_rng(0)
    decision = Decision(generator.random(5000), np.zeros(5000, bool), generator.random(5000) < 0.3)
    true, false = decision.curve(100)
    assert len(true) == len(false) == 100
    assert (true[0], false[0], true[-1] + false[-1]) == (0, 0, 5000)
    assert (np.diff(true) >= 0).all()
