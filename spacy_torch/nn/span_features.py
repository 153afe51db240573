"""A vector for each of many overlapping spans, without a copy of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.row_sums import sum_rows
from spacy_torch.nn.span_batch import SpanBatch

if TYPE_CHECKING:
    from jaxtyping import Float, Int

SpanPooling = Literal["first", "last", "mean", "max"]


class SpanFeatures(nn.Module):
    """The sum of linear maps of a span's first, last, average and largest tokens and its size.

    Spans overlap, so that a batch has many times more of them than tokens. All that is
    linear is therefore done once per token: each of the `pooling` has a linear map of its
    own, after which only rows are picked and added. The largest is taken of the mapped
    tokens.

    Args:
        width: the size of the token vectors.
        hidden_width: the size of the span vectors.
        pooling: which tokens of a span count, and how.
        n_sizes: spans of this many tokens or more are of one size.

    Raises:
        ValueError: a pooling has no such name or is named twice, there is none, or
            `n_sizes` is not positive.
    """

    def __init__(
        self, *, width: int, hidden_width: int, pooling: Sequence[SpanPooling], n_sizes: int
    ) -> None:
        super().__init__()
        known = get_args(SpanPooling)
        if not pooling or set(pooling) - set(known) or len(set(pooling)) < len(pooling):
            raise ValueError(
                f"pooling must name some of {', '.join(known)}, each once, got {list(pooling)}"
            )
        if n_sizes < 1:
            raise ValueError(f"n_sizes must be at least 1, got {n_sizes}")
        self.pooling = tuple(pooling)
        self.hidden_width = hidden_width
        self.project = nn.Linear(width, hidden_width * len(pooling), bias=False)
        self.sizes = nn.Embedding(n_sizes, hidden_width)
        nn.init.normal_(self.sizes.weight, std=0.1)

    def forward(self, tokens: Ragged, spans: SpanBatch) -> Float[Tensor, "span hidden_width"]:
        """One vector per span; no spans give no rows, connected to the tokens for a loss."""
        parts = self.project(tokens.values)  # token, pooling*hidden_width
        if not len(spans.starts):
            return parts[:0, : self.hidden_width]
        starts, ends = spans.rows(tokens)
        total = self._pick(parts, starts, ends)
        for place, pooling in enumerate(self.pooling):
            if pooling in ("mean", "max"):
                part = parts[:, place * self.hidden_width : (place + 1) * self.hidden_width]
                reduce = span_mean if pooling == "mean" else span_max
                total = total + reduce(part, starts, ends)
        return total

    def _pick(
        self,
        parts: Float[Tensor, "token pooling*hidden_width"],
        starts: Int[Tensor, " span"],
        ends: Int[Tensor, " span"],
    ) -> Float[Tensor, "span hidden_width"]:
        """Add up what are single rows: those of the first and the last token and of the size."""
        n_blocks = len(self.pooling)
        # Row by row, a token's blocks stand one after the other.
        table = torch.cat([self.sizes.weight, parts.view(-1, self.hidden_width)])
        n_sizes = self.sizes.num_embeddings
        terms = [(ends - starts).clamp(max=n_sizes) - 1]
        for place, pooling in enumerate(self.pooling):
            if pooling in ("first", "last"):
                token = starts if pooling == "first" else ends - 1
                terms.append(n_sizes + token * n_blocks + place)
        return sum_rows(table, torch.stack(terms, 1))


def span_mean(
    values: Float[Tensor, "token width"],
    starts: Int[Tensor, " span"],
    ends: Int[Tensor, " span"],
) -> Float[Tensor, "span width"]:
    """The average of the rows of each span, from two of their running sums."""
    # The sum of a span is a small difference of two large sums: in float32 it would
    # depend on how much stands before it.
    exact = torch.float32 if values.device.type == "mps" else torch.float64
    sums = torch.cat([values.new_zeros(1, values.shape[1], dtype=exact), values.to(exact)])
    sums = sums.cumsum(0)
    total = sums.index_select(0, ends) - sums.index_select(0, starts)
    return (total / (ends - starts).unsqueeze(1)).to(values.dtype)


def span_max(
    values: Float[Tensor, "token width"],
    starts: Int[Tensor, " span"],
    ends: Int[Tensor, " span"],
) -> Float[Tensor, "span width"]:
    """The largest value of each column in each span, from two overlapping power-of-two windows.

    Level k of the table holds the largest of each 2^k rows in a row, made of two of the
    level below; any span is covered by the two windows at its ends (Bender and
    Farach-Colton 2000, "The LCA problem revisited", section 3).
    """
    if not len(starts):
        return values.new_zeros(0, values.shape[1])
    sizes = ends - starts
    levels, offsets, size = [values], [0], 1
    largest = int(sizes.max())
    while 2 * size <= largest:
        below = levels[-1]
        offsets.append(offsets[-1] + len(below))
        levels.append(torch.maximum(below[:-size], below[size:]))
        size *= 2
    if size == 1:
        return values.index_select(0, starts)
    # frexp is exact where the logarithm of a power of two may not be.
    level = torch.frexp(sizes.double())[1].long() - 1
    offset = torch.tensor(offsets, device=starts.device).index_select(0, level)
    table = torch.cat(levels)
    left = table.index_select(0, offset + starts)
    right = table.index_select(0, offset + ends - (1 << level))
    return torch.maximum(left, right)
