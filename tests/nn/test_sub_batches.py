import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacy_torch.nn.sub_batches import SubBatches


def identity(batch):
    """A row per element: its place."""
    return batch.rows[batch.mask].unsqueeze(1).float()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 30))
def test_each_element_finds_its_row_and_padding_keeps_to_the_budget(lengths, budget):
    shapes = []

    def function(batch):
        shapes.append(tuple(batch.rows.shape))
        return identity(batch)

    rows, row_of = SubBatches(budget).run(function, torch.tensor(lengths))
    assert rows[row_of].squeeze(1).tolist() == list(range(sum(lengths)))
    assert all(n * longest <= budget or n == 1 for n, longest in shapes)
    assert [longest for _, longest in shapes] == sorted((s[1] for s in shapes), reverse=True)


class SmallDevice:
    """Runs out of memory beyond a number of elements."""

    def __init__(self, room, error):
        self.room, self.error, self.failures = room, error, 0

    def __call__(self, batch):
        if batch.rows.numel() > self.room:
            self.failures += 1
            raise self.error
        return identity(batch)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
    ],
)
def test_batch_is_split_until_memory_suffices_and_stays_small(error, caplog):
    lengths = torch.tensor([2, 4, 3, 4, 4, 1, 4, 4])
    device, sub_batches = SmallDevice(10, error), SubBatches(1000)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            rows, row_of = sub_batches.run(device, lengths)
            assert rows[row_of].squeeze(1).tolist() == list(range(26))
    assert device.failures == 2  # 8 sequences, 4 of them; 2 of 4 elements fit
    (record,) = caplog.records
    assert "8 sequences of up to 4 pieces" in record.message
    assert "kept to 16 pieces" in record.message


def test_one_sequence_that_finds_no_memory_is_an_error():
    error = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        SubBatches(100).run(SmallDevice(3, error), torch.tensor([4, 2]))


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shape mismatch"):
        SubBatches(100).run(SmallDevice(3, RuntimeError("shape mismatch")), torch.tensor([4, 4]))


def test_budget_must_hold_something():
    with pytest.raises(ValueError, match="batch_pieces must be >= 1, got 0"):
        SubBatches(0)
