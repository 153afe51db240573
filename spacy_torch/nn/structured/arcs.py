"""Scores of arcs, computed only for those that are asked about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# The cells of one padded batch of sentences, and how much longer its longest may be.
MOST_CELLS = 2**20
MOST_PADDING = 1.25
# Arcs whose labels are scored at a time: each needs a matrix of its own on the way, which should
# stay in the cache of a CPU.
MOST_ARCS = 2**9
# Where a distance ends that is told apart from the next larger one, on either side.
DISTANCES = (1, 2, 3, 4, 7, 12, 20)
N_DISTANCES = 2 * (len(DISTANCES) + 1)


class ArcFactors(NamedTuple):
    """What the scores of all arcs in a batch are products of, one row per token.

    A parser's module returns these, so that arcs are scored within sentences only, and labels
    for a few arcs only. A root is an arc from a token to itself.

    Attributes:
        starts: the logit of each token as the first of a sentence.
        roots: the score of each token as a root.
        dependents, heads: whose inner product is the score of an arc.
        dependent_distances, head_distances: what is added to that for each kind of distance
            between the two, see `kinds_of_distance`.
        label_dependents, label_heads: whose product with the weights scores an arc's labels.
        label_root: stands in the place of the head's row for a root.
        label_weights: the last row and column are those of a bias.
    """

    starts: Float[Tensor, " token"]
    roots: Float[Tensor, " token"]
    dependents: Float[Tensor, "token arc"]
    heads: Float[Tensor, "token arc"]
    dependent_distances: Float[Tensor, "token distance"]
    head_distances: Float[Tensor, "token distance"]
    label_dependents: Float[Tensor, "token width"]
    label_heads: Float[Tensor, "token width"]
    label_root: Float[Tensor, " width"]
    label_weights: Float[Tensor, "width_1 width_1 label"]

    def score_arcs(self, sentences: SentenceBatch) -> Float[Tensor, "batch token token"]:
        """Score each token (second axis) under each head (third axis) of its sentence.

        The diagonal is the score as root; a head beyond the sentence's length has minus
        infinity.
        """
        rows = sentences.rows.reshape(-1)
        shape = (*sentences.rows.shape, self.heads.shape[1])
        heads = self.heads.index_select(0, rows).view(shape)
        dependents = self.dependents.index_select(0, rows).view(shape)
        scores = dependents @ heads.transpose(1, 2) + self._score_distances(sentences)
        roots = self.roots.index_select(0, rows).view(sentences.rows.shape)
        is_root = torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
        scores = torch.where(is_root, roots.unsqueeze(2), scores)
        positions = torch.arange(scores.shape[1], device=scores.device)
        is_outside = positions >= sentences.lengths.unsqueeze(1)  # batch, head
        return scores.masked_fill(is_outside.unsqueeze(1), -torch.inf)

    def _score_distances(self, sentences: SentenceBatch) -> Float[Tensor, "batch token token"]:
        n_sentences, n_places = sentences.rows.shape
        rows = sentences.rows.reshape(-1)
        kinds = kinds_of_distance(n_places, device=rows.device)  # dependent, head
        shape = (n_sentences, n_places, N_DISTANCES)
        of_dependents = self.dependent_distances.index_select(0, rows).view(shape)
        of_heads = self.head_distances.index_select(0, rows).view(shape)
        of_dependents = of_dependents.gather(2, kinds.expand(n_sentences, -1, -1))
        of_heads = of_heads.gather(2, kinds.t().expand(n_sentences, -1, -1))
        return of_dependents + of_heads.transpose(1, 2)

    def score_labels(
        self, dependents: Int[Tensor, " arc"], heads: Int[Tensor, " arc"]
    ) -> Float[Tensor, "arc label"]:
        """Score the labels of arcs, given the rows of their tokens."""
        parts = zip(torch.split(dependents, MOST_ARCS), torch.split(heads, MOST_ARCS), strict=True)
        return torch.cat([self._score_labels(*part) for part in parts])

    def _score_labels(self, dependents: Tensor, heads: Tensor) -> Tensor:
        is_root = (dependents == heads).unsqueeze(1)
        of_heads = self.label_heads.index_select(0, heads)
        of_heads = F.pad(torch.where(is_root, self.label_root, of_heads), (0, 1), value=1.0)
        of_dependents = self.label_dependents.index_select(0, dependents)
        of_dependents = F.pad(of_dependents, (0, 1), value=1.0)
        weights = self.label_weights
        products = (of_dependents @ weights.flatten(1)).view(-1, *weights.shape[1:])
        return (of_heads.unsqueeze(1) @ products).squeeze(1)  # arc, label


def kinds_of_distance(
    n_places: int, *, device: torch.device | None = None
) -> Int[Tensor, "token token"]:
    """Of each token (first axis) and head (second axis): on which side, and about how far.

    The first half is for heads before the token, from the nearest to the farthest, and the
    second for those behind it. A token itself counts as one of the first kind.
    """
    places = torch.arange(n_places, device=device)
    offsets = places.unsqueeze(0) - places.unsqueeze(1)
    ends = torch.tensor(DISTANCES, device=device)
    return torch.bucketize(offsets.abs(), ends) + (offsets > 0) * (N_DISTANCES // 2)


class SentenceBatch(NamedTuple):
    """Sentences of about the same length, as rows of a batch's tokens.

    Attributes:
        rows: which token stands at each place; beyond the end of a sentence, any.
        lengths: the number of tokens of each sentence.
    """

    rows: Int[Tensor, "batch token"]
    lengths: Int[Tensor, " batch"]


def batch_sentences(
    rows: Int[Tensor, " token"], lengths: Sequence[int], *, most_cells: int = MOST_CELLS
) -> list[SentenceBatch]:
    """Put sentences into batches with little padding, the shortest first.

    Args:
        rows: the tokens of one sentence after the other.
        lengths: the number of tokens of each sentence, at least one.
        most_cells: the size of a batch's padded score matrices together; a sentence that is
            larger alone has a batch of its own.
    """
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    groups: list[list[int]] = []
    for place in order:
        length = lengths[place]
        group = groups[-1] if groups else None
        if (
            group is None
            or length > MOST_PADDING * lengths[group[0]] + 2
            or (len(group) + 1) * length**2 > most_cells
        ):
            groups.append([place])
        else:
            group.append(place)
    return [_pad(rows, [starts[i] for i in group], [lengths[i] for i in group]) for group in groups]


def _pad(rows: Tensor, starts: list[int], lengths: list[int]) -> SentenceBatch:
    positions = torch.arange(max(lengths), device=rows.device)
    first = torch.tensor(starts, device=rows.device).unsqueeze(1)
    n_tokens = torch.tensor(lengths, device=rows.device)
    places = first + torch.minimum(positions, n_tokens.unsqueeze(1) - 1)
    return SentenceBatch(rows[places], n_tokens)
