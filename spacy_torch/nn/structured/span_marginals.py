"""How probable entities are under a chain of BILUO tags, and which ones are worth asking for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spacy_torch.nn.structured.biluo import (
    BEGIN,
    INSIDE,
    LAST,
    UNIT,
    Spans,
    count_labels,
    tag_columns,
)
from spacy_torch.nn.structured.crf import Lattice

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class SpanMarginals:
    """Answers how probable an entity is: exactly, for any number of them at once.

    The tags inside an entity have one path only, so its weight is a difference of two running
    sums, whatever its length.
    """

    def __init__(self, lattice: Lattice) -> None:
        steps = lattice.steps
        self._forward, self._backward, marginals, scores = (
            torch.empty_like(by_step).index_copy(0, steps.rows, by_step)
            for by_step in (
                lattice.forward,
                lattice.backward,
                lattice.marginals(),
                lattice.log_potentials,
            )
        )
        self.tags: Float[Tensor, "token tag"] = marginals
        self._scores = scores
        self._totals = lattice.totals
        self._ids = torch.empty_like(steps.rows).index_copy(0, steps.rows, steps.sequences)
        self._labels = torch.arange(count_labels(scores.shape[1]), device=scores.device)
        self._between = lattice.between.log()
        inside = scores[:, tag_columns(self._labels, INSIDE)]
        # Tokens at which an entity cannot go on would make differences of infinities.
        closed = inside == -torch.inf
        inside = inside.masked_fill(closed, 0.0)
        self._inside = torch.cat([inside.new_zeros(1, inside.shape[1]), inside.cumsum(0)])
        self._closed = torch.cat([steps.rows.new_zeros(1, closed.shape[1]), closed.cumsum(0)])

    def __call__(self, spans: Spans) -> Float[Tensor, " span"]:
        """The probability that each of these is an entity of its label.

        A span must lie within one sequence.
        """
        starts, ends, labels = spans
        lasts = ends - 1
        begin, inside, last, unit = (
            tag_columns(labels, part) for part in (BEGIN, INSIDE, LAST, UNIT)
        )
        n_inside = ends - starts - 2
        within = starts + 1, torch.maximum(lasts, starts + 1)
        moves = torch.where(
            n_inside > 0,
            self._between[begin, inside]
            + (n_inside - 1).clamp(min=0) * self._between[inside, inside]
            + self._between[inside, last],
            self._between[begin, last],
        )
        log_p = (
            self._forward[starts, begin].log()
            + moves
            + self._inside[within[1], labels]
            - self._inside[within[0], labels]
            + self._scores[lasts, last]
            + self._backward[lasts, last].log()
            - self._totals[self._ids[starts]].log()
        )
        is_broken = self._closed[within[1], labels] > self._closed[within[0], labels]
        p = log_p.masked_fill(is_broken, -torch.inf).exp().clamp(max=1.0)
        return torch.where(n_inside < 0, self.tags[starts, unit], p)

    def likely(self, floor: float) -> Spans:
        """All entities at least this probable: none is if one of its tags is not.

        Each token is in at most 1 / floor of them, so that their number is bounded. The loop
        runs over lengths, as long as any entity of that length is left.

        Raises:
            ValueError: the floor is not above 0.
        """
        if not 0.0 < floor <= 1.0:
            raise ValueError(f"floor must be above 0 and at most 1, got {floor}")
        unit, begin, inside, last = (
            self.tags[:, tag_columns(self._labels, part)] >= floor
            for part in (UNIT, BEGIN, INSIDE, LAST)
        )
        starts, labels = unit.nonzero().unbind(1)
        found = [Spans(starts, starts + 1, labels)]
        starts, labels = begin.nonzero().unbind(1)
        length = 1
        while len(starts):
            length += 1
            lasts = starts + length - 1
            going_on = lasts < len(self._ids)
            lasts = lasts.clamp(max=len(self._ids) - 1)
            going_on &= self._ids[lasts] == self._ids[starts]
            ending = going_on & last[lasts, labels]
            found.append(Spans(starts[ending], lasts[ending] + 1, labels[ending]))
            going_on &= inside[lasts, labels]
            starts, labels = starts[going_on], labels[going_on]
        spans = _join(found)
        keep = self(spans) >= floor
        return Spans(*(part[keep] for part in spans))


def choose_apart(spans: Spans, probabilities: Float[Tensor, " span"]) -> Bool[Tensor, " span"]:
    """Which spans are left when the most probable are taken first, if they overlap none taken.

    Of equally probable ones the first is taken. In each round all spans win that no span left
    is in the way of; a handful of rounds does.
    """
    n_spans, lengths = len(spans.starts), spans.ends - spans.starts
    numbers = torch.arange(n_spans, device=lengths.device)
    rank = torch.empty_like(numbers)
    rank[probabilities.argsort(descending=True, stable=True)] = numbers
    owners = numbers.repeat_interleave(lengths)
    begins = (lengths.cumsum(0) - lengths)[owners]
    rows = spans.starts[owners] + torch.arange(len(owners), device=lengths.device) - begins
    n_rows = int(spans.ends.max()) if n_spans else 0
    chosen = torch.zeros_like(numbers, dtype=torch.bool)
    left = ~chosen
    while bool(left.any()):
        cells = left[owners]
        best = rank.new_full((n_rows,), n_spans)
        best = best.scatter_reduce(0, rows[cells], rank[owners[cells]], "amin")
        is_beaten = torch.zeros_like(chosen)
        is_beaten[owners[rank[owners] > best[rows]]] = True
        winners = left & ~is_beaten
        taken = torch.zeros_like(best, dtype=torch.bool)
        taken[rows[winners[owners]]] = True
        chosen |= winners
        left[owners[taken[rows]]] = False
    return chosen


def _join(parts: list[Spans]) -> Spans:
    return Spans(*(torch.cat([getattr(part, name) for part in parts]) for name in Spans._fields))
