import random

import numpy
import pytest
import torch


@pytest.fixture(autouse=True)
def seed() -> None:
    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)


def pytest_configure() -> None:
    # The tensors of tests are too small to share out: on a busy machine the threads of one
    # operation wait for each other. The tests of threads set their own number.
    torch.set_num_threads(1)
