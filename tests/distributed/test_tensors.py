"""Tensors are added up whatever their sizes, types and layouts, and however they are packed."""

import pytest
import torch
from rank_data import sum_odd_tensors
from ranks import run_ranks


@pytest.mark.parametrize(
    ("bucket_bytes", "alone_bytes"), [(1, 10**6), (50, 10**6), (10**6, 10**6), (50, 24)]
)
def test_sums_do_not_depend_on_the_size_of_the_buckets(bucket_bytes, alone_bytes):
    expected = [  # ranks count once, twice and three times
        (torch.arange(5.0) * 6).tolist(),
        [[6.0] * 3] * 2,
        [[0.0, 18.0], [6.0, 24.0], [12.0, 30.0]],
        [],
        6.0,
        (torch.arange(100.0) * 6).tolist(),
    ]
    n_bytes = 5 * 4 + 6 * 8 + 6 * 4 + 4 + 100 * 4
    assert run_ranks(sum_odd_tensors, 3, bucket_bytes, alone_bytes) == [(expected, n_bytes)] * 3
