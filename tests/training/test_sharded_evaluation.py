"""Ranks that share an evaluation find what one process finds."""

import pytest
from rank_training import evaluate_both_ways, fail_to_score, run
from ranks import run_ranks

# Annotations in spans, in the dependencies, in `cats`, and in `user_data` only.
FACTORIES = ["torch_parser", "torch_spancat", "torch_textcat", "torch_relations"]


@pytest.mark.parametrize("factory", FACTORIES)
def test_two_ranks_score_as_one(factory):
    for alone, together in run_ranks(evaluate_both_ways, 2, factory):
        assert any(isinstance(score, float) and score > 0 for score in alone.values())
        assert together == alone


@pytest.mark.slow
def test_boxes_reach_the_rank_that_scores():
    for alone, together in run_ranks(evaluate_both_ways, 2, "torch_object_detector"):
        assert alone["box_recall"] > 0
        assert together == alone


def test_ranks_without_a_document_take_part():
    for alone, together in run_ranks(evaluate_both_ways, 3, "torch_tagger", 1):
        assert together == alone


def test_all_ranks_are_told_that_scoring_failed():
    first, *others = run_ranks(run, 3, fail_to_score)
    assert first == "KeyError: 'no such key'"
    assert others == ["RuntimeError: rank 0 could not score the evaluation: KeyError: "
                      "'no such key'"] * 2  # fmt: skip
