"""Several ranks learn from the parts of a batch what one process learns from all of it."""

from typing import Any

import numpy
import pytest
import rank_training
from rank_training import run, train_components
from ranks import run_ranks
from test_contract import FACTORIES

IN_CLOSED_FORM = [
    "torch_image_classifier",
    "torch_image_classifier_multilabel",
    "torch_object_detector",
]
BY_GRADIENT = [factory for factory in FACTORIES if factory not in IN_CLOSED_FORM]


@pytest.fixture(scope="module")
def alone() -> dict[str, rank_training.Weights]:
    return train_components(BY_GRADIENT)


@pytest.fixture(scope="module", params=[2, 3])
def together(request) -> list[dict[str, rank_training.Weights]]:
    return run_ranks(train_components, request.param, BY_GRADIENT)


@pytest.mark.slow
@pytest.mark.parametrize("factory", BY_GRADIENT)
def test_each_component_learns_alike_from_parts_and_from_the_whole(alone, together, factory):
    untrained = train_components([factory], steps=0)[factory]
    moved = largest_difference(alone[factory], untrained)
    assert moved > 1e-3
    for of_rank in together:
        assert largest_difference(of_rank[factory], alone[factory]) < 1e-9 * max(moved, 1.0)
        assert are_equal(of_rank[factory], together[0][factory])


@pytest.mark.parametrize("factory", IN_CLOSED_FORM)
def test_what_learns_in_closed_form_is_refused_by_name(factory):
    for answer in run_ranks(run, 2, train_components, [factory]):
        assert answer.startswith(
            f"NotTogetherError: not to be trained by several processes: '{factory}' learns in "
            "closed form"
        )


def largest_difference(found: dict[str, Any], expected: dict[str, Any]) -> float:
    assert found.keys() == expected.keys()
    return max(
        float(numpy.abs(found[name].astype("float64") - expected[name]).max(initial=0.0))
        for name in expected
    )


def are_equal(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return all((found[name] == expected[name]).all() for name in expected)
