"""The rows of a ragged batch step by step, as a recurrent network reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from spacy_torch.nn.ragged import Ragged

if TYPE_CHECKING:
    from jaxtyping import Int


class PackedOrder(NamedTuple):
    """First the first tokens of all sequences, then the second ones, and so on.

    Within a step the longest sequence comes first, so that each step continues the first
    rows of the one before, and nothing is padded. It is the order of torch's
    `PackedSequence`. A batch without tokens has no steps.

    Attributes:
        order: for each packed row, the row of the batch that it takes.
        place: for each row of the batch, where it stands in the packed order.
        flip: for each packed row, the packed row of its sequence read backwards; applied
            twice it changes nothing.
        sequence: for each packed row, the place of its sequence among those of the batch
            that have tokens, the longest first.
        sizes: how many sequences reach each step.
    """

    order: Int[Tensor, " token"]
    place: Int[Tensor, " token"]
    flip: Int[Tensor, " token"]
    sequence: Int[Tensor, " token"]
    sizes: list[int]

    def previous(self) -> Int[Tensor, " later"]:
        """For each packed row after the first step, the row of its sequence one step before."""
        if not self.sizes:
            return self.order
        device = self.order.device
        sizes = torch.tensor(self.sizes, device=device)
        n_later = len(self.order) - self.sizes[0]
        back = sizes[:-1].repeat_interleave(sizes[1:], output_size=n_later)
        return torch.arange(self.sizes[0], len(self.order), device=device) - back


def pack(tokens: Ragged) -> PackedOrder:
    """The packed order of a batch."""
    lengths = tokens.lengths
    ids = tokens.sequence_ids()
    rows = torch.arange(len(ids), device=lengths.device)
    steps = rows - tokens.offsets().index_select(0, ids)
    ranks = torch.empty_like(lengths)
    by_length = lengths.argsort(descending=True, stable=True)
    ranks[by_length] = torch.arange(len(lengths), device=lengths.device)
    sequence = ranks.index_select(0, ids)
    sizes = steps.bincount()
    starts = sizes.cumsum(0) - sizes
    place = starts.index_select(0, steps) + sequence
    steps_left = lengths.index_select(0, ids) - 1 - steps
    order = torch.empty_like(place)
    order[place] = rows
    place_reversed = starts.index_select(0, steps_left) + sequence
    return PackedOrder(
        order=order,
        place=place,
        flip=place_reversed.index_select(0, order),
        sequence=sequence.index_select(0, order),
        sizes=cast("list[int]", sizes.tolist()),  # pyright: ignore[reportUnknownMemberType]
    )
