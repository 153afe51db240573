"""Learn which spans are worth a closer look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.span_batch import SpanBatch

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class SpanProposer(nn.Module):
    """Scores spans by their two ends, and keeps the best of each document.

    The score of a span is a number for its first token, one for its last, and the product
    of a vector of each: the deep biaffine of Dozat and Manning (2017,
    https://arxiv.org/abs/1611.01734) of low rank, as Yu et al. (2020,
    https://arxiv.org/abs/2005.07150) use it for spans. It costs a fraction of a full
    span vector, so that the candidates may be long and many.

    Args:
        width: the size of the token vectors.
        rank: the size of the two vectors that are multiplied.
        per_token: how many spans to keep per token of a document.
        at_least: how many to keep more than that.

    Raises:
        ValueError: the rank is not positive, or the budget is negative or nothing.
    """

    def __init__(self, *, width: int, rank: int, per_token: float, at_least: int) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}")
        if per_token < 0 or at_least < 0 or per_token + at_least == 0:
            raise ValueError(
                "per_token and at_least must not be negative, and one of them must be above 0, "
                f"got per_token = {per_token} and at_least = {at_least}"
            )
        self.rank = rank
        self.per_token = per_token
        self.at_least = at_least
        self.first = nn.Linear(width, rank + 1)
        self.last = nn.Linear(width, rank + 1)
        with torch.no_grad():
            # Few spans are wanted: start from a probability of about one in fifty.
            self.first.bias[0] = -2.0
            self.last.bias[0] = -2.0

    def forward(self, tokens: Ragged, spans: SpanBatch) -> Float[Tensor, " span"]:
        """The logit of each span's being one to look at."""
        starts, ends = spans.rows(tokens)
        first = self.first(tokens.values).index_select(0, starts)
        last = self.last(tokens.values).index_select(0, ends - 1)
        product = (first[:, 1:] * last[:, 1:]).sum(1) / self.rank**0.5
        return first[:, 0] + last[:, 0] + product

    def choose(
        self, scores: Float[Tensor, " span"], tokens: Ragged, spans: SpanBatch
    ) -> Bool[Tensor, " span"]:
        """Which spans to keep: those with the best scores within the budget, and the required.

        The budget counts all of them, so that documents with required spans keep the
        required first and then the best of the others.
        """
        budget = torch.ceil(tokens.lengths * self.per_token).long() + self.at_least
        ranks = _rank(scores.float().masked_fill(spans.required, torch.inf), spans)
        return (ranks < budget.index_select(0, spans.sequence_ids())) | spans.required


def _rank(scores: Float[Tensor, " span"], spans: SpanBatch) -> Tensor:
    """The place of each span among those of its document, the best 0; the earlier of equals."""
    order = torch.argsort(scores, descending=True, stable=True)
    ids = spans.sequence_ids()
    order = order[torch.argsort(ids[order], stable=True)]
    offsets = Ragged(spans.starts, spans.lengths).offsets().index_select(0, ids)
    places = torch.arange(len(scores), device=scores.device)
    return torch.empty_like(order).index_copy_(0, order, places) - offsets
