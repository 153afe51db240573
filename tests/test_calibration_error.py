"""The measure of how well probabilities fit what happens."""

import pytest

from benchmarks.ner_wnut17 import calibration_error


def test_probabilities_that_come_true_as_often_as_they_say_have_no_error():
    assert calibration_error([0.5, 0.5, 1.0], [True, False, True]) == 0.0


def test_error_is_weighed_by_how_many_are_in_a_bin():
    # Three that say 0.9 of which one is right: |2.7 - 1| of 4. One that says 0.1 and is: 0.9.
    found = calibration_error([0.9, 0.9, 0.9, 0.1], [True, False, False, True])
    assert found == pytest.approx((1.7 + 0.9) / 4)


def test_nothing_to_judge_is_no_error():
    assert calibration_error([], []) == 0.0
