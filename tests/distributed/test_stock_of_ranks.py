"""Two ranks train spaCy's own components as one process does."""

import numpy
import pytest
from architectures.test_stock_components import SCORES
from rank_stock import train_stock
from ranks import run_ranks

# Their losses are divided by the states of a batch, which is a part of it on each rank.
OF_STATES = ["parser", "ner"]


@pytest.fixture(scope="module")
def alone():
    return run_ranks(train_stock, 1, list(SCORES))[0]


@pytest.fixture(scope="module")
def together():
    return run_ranks(train_stock, 2, list(SCORES))


@pytest.mark.slow
@pytest.mark.parametrize("factory", SCORES)
def test_ranks_learn_alike_and_what_one_process_learns(alone, together, factory):
    first, second = (of_rank[factory] for of_rank in together)
    for name, value in alone[factory].items():
        numpy.testing.assert_array_equal(first[name], second[name], err_msg=name)
        if factory not in OF_STATES:
            numpy.testing.assert_allclose(first[name], value, rtol=0, atol=1e-6, err_msg=name)
