"""Paths that do not hold certain entities, as a chain with more tags and plain masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.structured.biluo import (
    BEGIN,
    INSIDE,
    LAST,
    OUTSIDE,
    UNIT,
    Spans,
    count_labels,
    tag_columns,
)
from spacy_torch.nn.structured.chain import TagScores, Transitions

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Int


def without_spans(
    scores: TagScores, allowed: Bool[Tensor, "token tag"], rejected: Spans
) -> tuple[TagScores, Bool[Tensor, "token tag"]]:
    """Scores and allowed tags of a chain whose paths are those without the rejected entities.

    An entity of one token is a tag that is not allowed. One of several tokens is no single
    tag: the path may begin it and be inside it, only not end where it ends. So whoever
    begins an entity where a rejected one of the label begins goes on in copies of B, I and L
    that score the same, and the copy of L is not allowed where the rejected one ends. There
    is a set of copies for the first, the second, ... such place of a sequence.

    Args:
        scores: transitions that are not legal must be minus infinity.
        rejected: of any number, also overlapping ones, and the same one twice.
    """
    emissions, transitions = scores
    starts, ends, labels = rejected
    allowed = allowed.clone()
    short = ends - starts == 1
    allowed[starts[short], tag_columns(labels[short], UNIT)] = False
    starts, lasts, labels = starts[~short], ends[~short] - 1, labels[~short]
    if not len(starts):
        return scores, allowed
    ids = emissions.sequence_ids()
    places, place_of = _distinct(torch.stack([starts, labels], 1))
    numbers = _number_within(ids[places[:, 0]])
    n_labels = count_labels(len(transitions.start))
    first_copy = len(transitions.start) + 3 * n_labels * numbers + 3 * places[:, 1]
    widened, copied = _copy_tags(scores, n_copies=int(numbers.max()) + 1)
    may = torch.zeros_like(widened.emissions.values, dtype=torch.bool)
    may[:, : allowed.shape[1]] = allowed
    begins, begun_labels = places.unbind(1)
    may[begins, tag_columns(begun_labels, BEGIN)] = False
    may[begins, first_copy] = allowed[begins, tag_columns(begun_labels, BEGIN)]
    rows = torch.arange(len(ids), device=ids.device).unsqueeze(1)
    after = (rows > begins) & (ids.unsqueeze(1) == ids[begins])  # token, place
    # Two places of a sequence never share a copy, so that each cell is written once.
    row, place = after.nonzero().unbind(1)
    for offset in (1, 2):  # I and L
        column = first_copy[place] + offset
        may[row, column] = allowed[row, copied[column - allowed.shape[1]]]
    may[lasts, first_copy[place_of] + 2] = False
    return widened, may


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows, sorted, and which of them each row is."""
    unique = cast("Callable[..., tuple[Tensor, Tensor]]", torch.unique)  # pyright: ignore[reportUnknownMemberType]
    return unique(rows, dim=0, return_inverse=True)


def _number_within(groups: Int[Tensor, " place"]) -> Int[Tensor, " place"]:
    """Number the members of each group from 0; members of a group stand together."""
    positions = torch.arange(len(groups), device=groups.device)
    is_first = torch.ones_like(groups, dtype=torch.bool)
    is_first[1:] = groups[1:] != groups[:-1]
    return positions - torch.where(is_first, positions, 0).cummax(0).values


def _copy_tags(scores: TagScores, *, n_copies: int) -> tuple[TagScores, Int[Tensor, " copy"]]:
    """Scores with copies of B, I and L of all labels behind the tags, and what each copies."""
    (values, lengths), (between, start, end) = scores
    n_tags = len(start)
    labels = torch.arange(count_labels(n_tags), device=start.device)
    parts = [tag_columns(labels, part) for part in (BEGIN, INSIDE, LAST)]
    copied = torch.stack(parts, 1).flatten().repeat(n_copies)
    source = torch.cat([torch.arange(n_tags, device=start.device), copied])
    # A copy is gone into at its B only, and left behind its L: else one stays in its set.
    group = torch.zeros_like(source)
    group[n_tags:] = torch.arange(len(copied), device=start.device) // (3 * len(labels)) + 1
    part = (source - 1) % 4
    inward = (source != OUTSIDE) & ((part == INSIDE) | (part == LAST))
    parted = inward & (group.unsqueeze(1) != group)
    wide = Transitions(
        between.index_select(0, source).index_select(1, source).masked_fill(parted, -torch.inf),
        start.index_select(0, source),
        end.index_select(0, source),
    )
    return TagScores(Ragged(values.index_select(1, source), lengths), wide), copied
