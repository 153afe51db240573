"""A linear classifier over hashed n-grams whose gradient touches only the rows it saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spacy_torch.nn.dropout import build_dropout

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class NgramBatch(NamedTuple):
    """The weight rows that a batch's n-grams hash to.

    Attributes:
        rows: the distinct rows of the whole batch, ascending.
        inverse: for each n-gram of each sequence, where its rows stand in `rows`; all have
            the same number of them.
        lengths: how many n-grams each sequence has.
    """

    rows: Int[Tensor, " row"]
    inverse: Int[Tensor, "ngram hash"]
    lengths: Int[Tensor, " batch"]


class BagOfNgrams(nn.Module):
    """The sum of the weight rows of a sequence's n-grams, plus a bias.

    The weight's gradient is sparse, with ascending rows, each once: an optimizer may
    mark it as coalesced without looking. An empty sequence scores the bias.

    Args:
        rows: the size of the table.
        scale: what the sum is multiplied with; the bias is not. An optimizer such as Adam
            moves every weight by about the learning rate, whatever the gradient: the
            larger the scale, the fewer examples it takes to change a score.
        normalize: divide the sum by the root of the number of its terms, so that long
            texts do not outshout short ones.
        dropout: a rate at which single n-grams are left out, each with all its rows, or
            `None` to follow spaCy's `[training.dropout]`.
    """

    def __init__(
        self,
        *,
        rows: int,
        n_labels: int,
        scale: float = 1.0,
        normalize: bool = False,
        dropout: float | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.normalize = normalize
        self.weight = nn.Parameter(torch.zeros(rows, n_labels))
        self.bias = nn.Parameter(torch.zeros(n_labels))
        self.dropout = build_dropout(dropout)

    def forward(self, batch: NgramBatch) -> Float[Tensor, "batch label"]:
        """Score a batch of n-grams; returns logits."""
        table = F.embedding(batch.rows, self.weight, sparse=True)  # row, label
        n_ngrams, n_hashes = batch.inverse.shape
        n_terms = n_hashes * batch.lengths
        offsets = n_terms.cumsum(0) - n_terms
        kept = None
        if self.training and self.dropout.p:
            kept = self.dropout(table.new_ones(n_ngrams, 1)).expand(-1, n_hashes).reshape(-1)
        bag = F.embedding_bag(
            batch.inverse.reshape(-1), table, offsets, mode="sum", per_sample_weights=kept
        )
        if self.normalize:
            bag = bag / n_terms.clamp(min=1).to(bag.dtype).sqrt().unsqueeze(1)
        return torch.add(self.bias, bag, alpha=self.scale)
