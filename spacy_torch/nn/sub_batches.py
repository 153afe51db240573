"""Run sequences of different lengths through a module that pads, without padding much."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from spacy_torch.nn.out_of_memory import run_if_it_fits

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

logger = logging.getLogger(__name__)


class SubBatch(NamedTuple):
    """Some of the sequences, padded to the longest of them.

    Attributes:
        rows: the places of the sequences' elements; behind the end of a sequence, 0.
        mask: which of these are real.
    """

    rows: Int[Tensor, "sequence step"]
    mask: Bool[Tensor, "sequence step"]


class SubBatches:
    """Splits a batch into sub-batches of similar lengths and puts the results in order.

    Sequences are sorted by length, so that a sub-batch has hardly any padding. When memory
    runs out during a sub-batch, its halves are run instead, and from then on all are kept
    to half its size; the first time, a warning says so. That holds for what a forward pass
    takes; memory that runs out in a backward pass is out of reach here, where only the sequences
    of one module are known. `BatchLimit` of the components splits documents, around both passes.

    Args:
        budget: the number of elements, padding included, of a sub-batch. A sequence longer
            than that is run alone.
    """

    def __init__(self, budget: int) -> None:
        if budget < 1:
            raise ValueError(f"batch_pieces must be >= 1, got {budget}")
        self.budget = budget
        self._has_warned = False

    def run(
        self, function: Callable[[SubBatch], Tensor], lengths: Int[Tensor, " sequence"]
    ) -> tuple[Tensor, Int[Tensor, " element"]]:
        """Call the function on every sub-batch.

        Args:
            function: gives a row for each real element of a sub-batch, in reading order.
            lengths: of the sequences, on the CPU, none of them 0 and at least one.

        Returns:
            All rows, and for each element of the sequences, one after the other, its row.
        """
        starts = lengths.cumsum(0) - lengths
        # Longest first: if memory does not suffice, that shows at once.
        order = lengths.argsort(descending=True, stable=True)
        waiting = [order]
        found: list[Tensor] = []
        places: list[Tensor] = []
        while waiting:
            sequences = waiting.pop()
            if not len(sequences):
                continue
            longest = int(lengths[sequences[0]])
            n_fitting = max(1, self.budget // longest)
            waiting.append(sequences[n_fitting:])
            batch = _pad(sequences[:n_fitting], starts, lengths, longest=longest)
            rows = run_if_it_fits(function, batch, n_items=len(batch.rows))
            if not rows:
                self._shrink(batch)
                waiting[-1] = sequences
                continue
            found += rows
            places.append(batch.rows[batch.mask])
        row_of = torch.empty(int(lengths.sum()), dtype=torch.int64)
        row_of[torch.cat(places)] = torch.arange(len(row_of))
        return torch.cat(found), row_of

    def _shrink(self, batch: SubBatch) -> None:
        n_sequences, longest = batch.rows.shape
        self.budget = min(self.budget, -(-n_sequences // 2) * longest)
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "Out of memory on a sub-batch of %d sequences of up to %d pieces: it is run in "
                "halves, and sub-batches are kept to %d pieces from now on. Set batch_pieces "
                "to that, to be spared the failing attempt",
                n_sequences,
                longest,
                self.budget,
            )


def _pad(
    sequences: Int[Tensor, " sequence"],
    starts: Int[Tensor, " all"],
    lengths: Int[Tensor, " all"],
    *,
    longest: int,
) -> SubBatch:
    steps = torch.arange(longest)
    mask = steps < lengths[sequences].unsqueeze(1)
    rows = starts[sequences].unsqueeze(1) + steps
    return SubBatch(rows.masked_fill(~mask, 0), mask)
