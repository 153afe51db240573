import random

import numpy
import pytest
import torch


@pytest.fixture(autouse=True)
def seed() -> None:
    set_seeds()


@pytest.fixture(autouse=True, scope="module")
def seed_of_module() -> None:
    """For fixtures of a module, which are made before those of its first test."""
    set_seeds()


def set_seeds() -> None:
    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)


def pytest_configure() -> None:
    # The tensors of tests are too small to share out: on a busy machine the threads of one
    # operation wait for each other. The tests of threads set their own number.
    torch.set_num_threads(1)
