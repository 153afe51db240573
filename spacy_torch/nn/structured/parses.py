"""What a parser learns from known arcs, and the trees that it finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from spacy_torch.nn.structured.arborescence import find_trees
from spacy_torch.nn.structured.arcs import ArcFactors, SentenceBatch

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class Arcs(NamedTuple):
    """Arcs of a batch by the rows of their tokens, in any order.

    Attributes:
        dependents: no token twice.
        heads: the same row for a root.
        log_probs: of this head among all tokens of the sentence.
    """

    dependents: Int[Tensor, " arc"]
    heads: Int[Tensor, " arc"]
    log_probs: Float[Tensor, " arc"]


def arc_loss(
    factors: ArcFactors, sentences: Sequence[SentenceBatch], heads: Int[Tensor, " token"]
) -> Float[Tensor, ""]:
    """Negative log-probability of the known heads among the tokens of their sentences, summed.

    Args:
        heads: the row of each token's head, which must be in its sentence; its own row for a
            root, and below 0 where it is not known.
    """
    loss = factors.roots.new_zeros(())
    for batch in sentences:
        rows, inside = batch.rows, _inside(batch)
        gold = heads[rows]
        # The place in the sentence: padding repeats the last row, of which the first counts.
        places = (gold.unsqueeze(2) == rows.unsqueeze(1)).byte().argmax(2)
        known = inside & (gold >= 0)
        scores = factors.score_arcs(batch)[known]
        loss = loss + F.cross_entropy(scores, places[known], reduction="sum")
    return loss


def label_loss(
    factors: ArcFactors, heads: Int[Tensor, " token"], labels: Int[Tensor, " token"]
) -> Float[Tensor, ""]:
    """Negative log-probability of the known labels, given the gold arcs, summed.

    Args:
        heads: as in `arc_loss`.
        labels: the column of each arc's label, below 0 where it is not known.
    """
    known = ((heads >= 0) & (labels >= 0)).nonzero()[:, 0]
    scores = factors.score_labels(known, heads[known])
    return F.cross_entropy(scores, labels[known], reduction="sum")


def start_loss(factors: ArcFactors, starts: Int[Tensor, " token"]) -> Float[Tensor, ""]:
    """Binary cross-entropy of the tokens of which it is known if a sentence starts, summed.

    Args:
        starts: 1 or 0, and below 0 where it is not known.
    """
    known = (starts >= 0).nonzero()[:, 0]
    logits = factors.starts.index_select(0, known)
    targets = starts[known].to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")


def find_arcs(factors: ArcFactors, sentences: Sequence[SentenceBatch]) -> Arcs:
    """The arcs of the best tree of each sentence."""
    nothing = torch.zeros(0, dtype=torch.int64, device=factors.roots.device)
    parts = [Arcs(nothing, nothing, factors.roots.new_zeros(0))]
    for batch in sentences:
        inside = _inside(batch)
        scores = factors.score_arcs(batch)
        trees = find_trees(scores, batch.lengths)
        chosen = scores.gather(2, trees.unsqueeze(2)).squeeze(2)
        log_probs = chosen - scores.logsumexp(2)
        heads = batch.rows.gather(1, trees)
        parts.append(Arcs(batch.rows[inside], heads[inside], log_probs[inside]))
    dependents, heads, log_probs = zip(*parts, strict=True)
    return Arcs(torch.cat(dependents), torch.cat(heads), torch.cat(log_probs))


def _inside(batch: SentenceBatch) -> Tensor:
    """Which places of a batch hold a token of the sentence."""
    positions = torch.arange(batch.rows.shape[1], device=batch.rows.device)
    return positions < batch.lengths.unsqueeze(1)
