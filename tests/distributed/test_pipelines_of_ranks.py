"""Whole pipelines, trained by several ranks: shared layers, few documents, bad batches."""

from typing import Any

import numpy
import pytest
from rank_pipelines import learn_all, learn_poisoned, start_apart, start_with_other_shapes
from rank_training import run
from ranks import run_ranks

CASES: dict[str, dict[str, Any]] = {
    "stock layers": {"kind": "stock"},
    "our shared layer": {"kind": "ours", "frozen": ["senter"]},
    "three parts of a batch": {"kind": "ours", "frozen": ["senter"], "accumulate": 3},
    "fewer documents than ranks": {"kind": "ours", "frozen": ["senter"], "batch_size": 2},
    "one document": {"kind": "stock", "batch_size": 1},
    "a frozen component": {"kind": "ours", "frozen": ["tok2vec", "senter"],
                           "annotating": ["tok2vec"], "n_docs": 6},
    "an annotating component": {"kind": "ours", "frozen": ["senter"], "annotating": ["tagger"]},
    "sparse gradients": {"kind": "ngrams"},
    "sparse gradients, one document": {"kind": "ngrams", "batch_size": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def alone():
    return learn_all(CASES)


@pytest.fixture(scope="module", params=[2, 3])
def together(request):
    return run_ranks(learn_all, request.param, CASES)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_ranks_learn_what_one_process_learns(alone, together, case):
    expected, _ = alone[case]
    for of_rank in together:
        found, digest = of_rank[case]
        assert digest == together[0][case][1]
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            numpy.testing.assert_allclose(found[name], value, rtol=0, atol=1e-6, err_msg=name)


RANKS_ONLY: dict[str, dict[str, Any]] = {
    "parser and ner": {"kind": "transitions"},
    "running statistics": {"kind": "norm"},
    "Adam on sparse gradients": {"kind": "ngrams", "adam": True},
}


@pytest.fixture(scope="module")
def ranks_only():
    return run_ranks(learn_all, 2, RANKS_ONLY)


@pytest.mark.slow
@pytest.mark.parametrize("case", RANKS_ONLY)
def test_ranks_stay_equal_where_one_process_would_learn_something_else(ranks_only, case):
    (first, digest), (second, other) = (of_rank[case] for of_rank in ranks_only)
    assert digest == other
    for name, value in first.items():
        numpy.testing.assert_array_equal(second[name], value, err_msg=name)


def test_a_batch_that_is_not_finite_on_one_rank_is_skipped_by_all():
    first, second = run_ranks(learn_poisoned, 2, "poisoned")
    assert first == second
    assert first[1:] == (1, [True, False, True, True])


def test_a_gradient_that_overflows_on_one_rank_lowers_the_scale_of_all():
    first, second = run_ranks(learn_poisoned, 2, "overflowing")
    assert first == second
    # Not counted as skipped: the step is only made with another scale the next time.
    assert first[1:] == (0, [True, False, True, True])


def test_weights_that_differ_at_the_start_become_those_of_rank_0():
    (differed, (before, after)), (other_differed, (other_before, other_after)) = run_ranks(
        start_apart, 2
    )
    assert differed == other_differed == [True, False]
    assert before != other_before
    assert after == other_after == before


def test_weights_of_other_shapes_are_refused():
    assert run_ranks(run, 2, start_with_other_shapes) == [
        "NotTogetherError: rank 1 has weights of other shapes than rank 0 (12 and 9 in all): "
        "initialize all ranks from the same config and data"
    ] * 2  # fmt: skip
