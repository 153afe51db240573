import random

import numpy
import pytest
import torch


@pytest.fixture(autouse=True)
def seed() -> None:
    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)
