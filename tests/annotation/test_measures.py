"""Scores and intervals, against scikit-learn, scipy and what can be counted by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from spacy_torch.annotation.measures import (
    bootstrap_interval,
    compare,
    measure_accuracy,
    measure_average_precision,
    measure_calibration_error,
)

SCORES = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
TRUTH = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])


def test_accuracy_counts_the_rows_that_are_right():
    assert measure_accuracy(SCORES, TRUTH) == 0.75


@given(st.lists(st.booleans(), min_size=2, max_size=30).filter(any), st.randoms())
def test_average_precision_is_that_of_scikit_learn(truth, random):
    scores = np.array(random.sample(range(1000), len(truth))) / 1000  # no ties
    truth = np.array(truth, dtype=float)
    found = measure_average_precision(scores[:, None], truth[:, None])
    assert found == pytest.approx(average_precision_score(truth, scores))


def test_average_precision_trusts_no_ties_and_leaves_out_labels_that_never_apply():
    truth = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert measure_average_precision(np.ones((4, 2)), truth) == 0.25
    assert measure_average_precision(np.ones((4, 2)), 0 * truth) == 0.0


def test_calibration_error_is_the_gap_between_confidence_and_being_right():
    # Bins of the highest scores: 0.9 right, 0.6 wrong, 0.8 right, 0.7 right.
    expected = (0.1 + 0.6 + 0.2 + 0.3) / 4
    assert measure_calibration_error(SCORES, TRUTH, exclusive=True) == pytest.approx(expected)
    # One label, two texts in the same bin: sure of 1.5 together, right once.
    scores, truth = np.array([[0.75], [0.75]]), np.array([[1.0], [0.0]])
    assert measure_calibration_error(scores, truth, exclusive=False) == pytest.approx(0.25)


def test_paired_differences_are_counted_and_judged():
    found = compare([0.8, 0.7, 0.9, 0.6], [0.7, 0.701, 0.6, 0.7])
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert found.mean == pytest.approx(0.07475)
    assert found.low <= -0.05
    assert found.verdict == "no difference shown"
    assert compare([0.8, 0.7], [0.6, 0.6]).verdict == "better"
    assert compare([0.6, 0.6], [0.8, 0.7]).verdict == "worse"
    assert compare([0.9], [0.1]).verdict == "no difference shown"  # by one seed
    with pytest.raises(ValueError, match="pairs are compared, got 1 results and 2"):
        compare([0.5], [0.5, 0.6])


def test_interval_of_the_mean_is_near_the_normal_one_for_many_values():
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)
    assert bootstrap_interval([0.5]) == (0.5, 0.5)
