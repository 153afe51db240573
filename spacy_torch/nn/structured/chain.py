"""The scores of a linear chain, and the order in which they are worked through."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor

from spacy_torch.nn.ragged import Ragged

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class Transitions(NamedTuple):
    """What it scores to go from a tag to the next, to start with one, to end with one.

    Minus infinity forbids a transition.

    Attributes:
        between: row from, column to.
    """

    between: Float[Tensor, "tag tag"]
    start: Float[Tensor, " tag"]
    end: Float[Tensor, " tag"]


class TagScores(NamedTuple):
    """What a module with a chain on top returns: a path's score is the sum of its parts.

    Attributes:
        emissions: values of shape (token, tag).
        transitions: the same for all sequences.
    """

    emissions: Ragged
    transitions: Transitions


class TimeSteps(NamedTuple):
    """The tokens of a batch in the order of their places in the sequences.

    First come the first tokens of all sequences, the longest sequence leading, then the
    second tokens of those that have one, and so on. Thus the sequences that go on are always
    the leading ones, and nothing is padded. `step` is a place in this order.

    Attributes:
        rows: the row of each step.
        sequences: the sequence of each step.
        sizes: how many sequences have a first, a second, ... token.
        firsts: the step of each sequence's first token, of those that have tokens.
        lasts: the step of its last token.
        filled: the sequences that have tokens.
    """

    rows: Int[Tensor, " token"]
    sequences: Int[Tensor, " token"]
    sizes: list[int]
    firsts: Int[Tensor, " filled"]
    lasts: Int[Tensor, " filled"]
    filled: Int[Tensor, " filled"]

    def before(self) -> Int[Tensor, " later"]:
        """For each step but the first ones, that of the token before it."""
        sizes = torch.tensor(self.sizes, device=self.rows.device)
        steps = torch.arange(self.sizes[0], len(self.rows), device=self.rows.device)
        return steps - sizes[:-1].repeat_interleave(sizes[1:], output_size=len(steps))


def order_by_time(lengths: Int[Tensor, " batch"]) -> TimeSteps:
    """Put the tokens of sequences in the order of their places."""
    ids = torch.arange(len(lengths), device=lengths.device)
    n_tokens = int(lengths.sum())
    sequence_ids = ids.repeat_interleave(lengths, output_size=n_tokens)
    starts = lengths.cumsum(0) - lengths
    places = torch.arange(n_tokens, device=lengths.device) - starts[sequence_ids]
    rank = torch.empty_like(ids)
    rank[lengths.argsort(descending=True, stable=True)] = ids
    rows = (places * len(lengths) + rank[sequence_ids]).argsort()
    steps = torch.empty_like(rows)
    steps[rows] = torch.arange(n_tokens, device=lengths.device)
    filled = lengths.nonzero().squeeze(1)
    return TimeSteps(
        rows=rows,
        sequences=sequence_ids[rows],
        sizes=cast("list[int]", places.bincount().tolist()),  # pyright: ignore[reportUnknownMemberType]
        firsts=steps[starts[filled]],
        lasts=steps[starts[filled] + lengths[filled] - 1],
        filled=filled,
    )


def allow_only(emissions: Ragged, allowed: Bool[Tensor, "token tag"]) -> Ragged:
    """The same scores, minus infinity for tags that a token must not have."""
    return Ragged(emissions.values.masked_fill(~allowed, -torch.inf), emissions.lengths)


def take_sequences(emissions: Ragged, keep: Bool[Tensor, " batch"]) -> Ragged:
    """Some of the sequences; the batch itself if all are kept."""
    if bool(keep.all()):
        return emissions
    rows = keep[emissions.sequence_ids()].nonzero().squeeze(1)
    return Ragged(emissions.values.index_select(0, rows), emissions.lengths[keep])
