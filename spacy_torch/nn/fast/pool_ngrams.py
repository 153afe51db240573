"""A text as a short dense vector, by the n-grams that occur together in unlabelled texts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spacy_torch.nn.bag_of_ngrams import NgramBatch
from spacy_torch.nn.linear_algebra import orthonormal, sparse, svd, unique, with_values

if TYPE_CHECKING:
    from jaxtyping import Float

# Rounds of the power iteration, and directions beyond those that are kept.
ROUNDS = 3
SPARE = 8


class PoolNgrams(nn.Module):
    """Latent semantic analysis: TF-IDF of hashed n-grams, projected on the pool's main directions.

    Before `learn_pool`, and for directions that a small pool does not have, the projection
    is random, which keeps the distances between texts roughly as they are. A text
    without n-grams is a row of zeros.

    The method is Deerwester et al. (1990), Indexing by latent semantic analysis; the
    decomposition is the randomized one of Halko, Martinsson and Tropp (2011).

    Args:
        rows: the size of the hash table of n-grams.
        width: the size of the vectors.
    """

    def __init__(self, *, rows: int, width: int) -> None:
        super().__init__()
        self.rows = rows
        self.width = width
        # The inverse document frequency is multiplied in. In half precision: the table is the
        # largest part of a model, and three digits are more than a count of words is worth.
        weight = _random_directions(rows, width).half()
        self.weight = nn.Parameter(weight, requires_grad=False)

    def forward(self, batch: NgramBatch) -> Float[Tensor, "batch width"]:
        """Vectors of length 1."""
        return F.normalize(_count(batch) @ self.weight[batch.rows].float(), dim=1)

    @torch.no_grad()
    def learn_pool(self, batches: Iterable[NgramBatch]) -> None:
        """Take the projection from the texts of a pool."""
        counts, rows = self._collect(batches)
        n_texts = counts.shape[0]
        if not len(rows):
            return
        text, column = counts.indices()
        frequency = torch.bincount(column, minlength=len(rows))
        inverse = ((1 + n_texts) / (1 + frequency).double()).log() + 1
        values = counts.values() * inverse[column]
        squares = values.new_zeros(n_texts).index_add(0, text, values**2)
        texts = with_values(counts, values / squares[text].sqrt())
        directions = _main_directions(texts, self.width)
        # Weaker than the directions that the pool vouches for. N-grams that it does not
        # have are as rare as can be.
        n_found = directions.shape[1]
        spare = 0.1 * _random_directions(self.rows, self.width - n_found)
        weight = torch.zeros(self.rows, self.width, dtype=torch.float64)
        weight[:, n_found:] = spare * (math.log(1 + n_texts) + 1)
        weight[rows, :n_found] = inverse.unsqueeze(1) * directions
        weight[rows, n_found:] = inverse.unsqueeze(1) * spare[rows]
        self.weight.copy_(weight)

    def _collect(self, batches: Iterable[NgramBatch]) -> tuple[Tensor, Tensor]:
        """The damped counts of the pool's texts, and the rows of the table that they are of."""
        places = [torch.zeros(2, 0, dtype=torch.int64)]
        values = [torch.zeros(0)]
        n_texts = 0
        for batch in batches:
            counts = _count(batch)
            text, place = counts.indices().cpu()
            places.append(torch.stack([text + n_texts, batch.rows.cpu()[place]]))
            values.append(counts.values().cpu())
            n_texts += len(batch.lengths)
        text, row = torch.cat(places, dim=1)
        rows, column = unique(row)
        shape = (n_texts, len(rows))
        return sparse(torch.stack([text, column]), torch.cat(values).double(), shape), rows


def _count(batch: NgramBatch) -> Tensor:
    """How often each distinct row occurs in each text, damped: 1 + log of the count."""
    n_hashes = batch.inverse.shape[1]
    text = torch.arange(len(batch.lengths), device=batch.lengths.device)
    places = torch.stack(
        [text.repeat_interleave(batch.lengths * n_hashes), batch.inverse.reshape(-1)]
    )
    ones = torch.ones(places.shape[1], device=places.device)
    counts = sparse(places, ones, (len(batch.lengths), len(batch.rows)))
    return with_values(counts, 1 + counts.values().log())


def _random_directions(rows: int, width: int) -> Float[Tensor, "row width"]:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(rows, width, generator=generator, dtype=torch.float64, device="cpu")
    return values / max(width, 1) ** 0.5


def _main_directions(texts: Tensor, width: int) -> Float[Tensor, "row direction"]:
    """The right singular vectors with the largest singular values, by a randomized method."""
    n_texts, n_rows = texts.shape
    turned = texts.t().coalesce()
    basis = orthonormal(texts @ _random_directions(n_rows, min(width + SPARE, n_texts)))
    for _ in range(ROUNDS):
        basis = orthonormal(texts @ orthonormal(turned @ basis))
    left, strengths, _ = svd(turned @ basis)  # the transposed matrix: its left are our right
    directions = left[:, :width][:, strengths[:width] > strengths[0] * 1e-6]
    # The sign of a direction is arbitrary: its largest value is made positive.
    largest = directions.abs().argmax(dim=0, keepdim=True)
    return directions * directions.gather(0, largest).sign()
