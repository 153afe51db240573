"""The BILUO tags of entities: their columns, and which of them may follow which.

Column 0 is O, outside. Each label then has four columns: B begins an entity of several tokens,
I is inside it, L its last, and U an entity of one token. The columns of labels added later come
after those that were learned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from spacy_torch.nn.structured.chain import Transitions

if TYPE_CHECKING:
    from jaxtyping import Int

OUTSIDE = 0
N_PARTS = 4
BEGIN, INSIDE, LAST, UNIT = range(N_PARTS)


class Spans(NamedTuple):
    """Entities as rows of the batch: one of each per entity, in the order of the text.

    Attributes:
        starts: the row of the first token.
        ends: the row behind the last token.
        labels: the number of the label.
    """

    starts: Int[Tensor, " span"]
    ends: Int[Tensor, " span"]
    labels: Int[Tensor, " span"]


def count_tags(n_labels: int) -> int:
    """How many columns so many labels have."""
    return 1 + N_PARTS * n_labels


def count_labels(n_tags: int) -> int:
    """How many labels have so many columns."""
    return (n_tags - 1) // N_PARTS


def tag_columns(labels: Int[Tensor, " span"], part: int) -> Int[Tensor, " span"]:
    """The columns of a part (`BEGIN`, ...) of each of these labels."""
    return 1 + N_PARTS * labels + part


def legal_moves(n_tags: int, *, device: torch.device) -> Transitions:
    """Which tags may follow each other, start and end a text: masks in place of scores."""
    tags = torch.arange(n_tags, device=device)
    parts, labels = (tags - 1) % N_PARTS, (tags - 1) // N_PARTS
    outside = tags == OUTSIDE
    closes = outside | (parts == LAST) | (parts == UNIT)
    opens = outside | (parts == BEGIN) | (parts == UNIT)
    same = labels.unsqueeze(1) == labels
    between = torch.where(closes.unsqueeze(1), opens, same & ~opens)
    return Transitions(between, opens, closes)


def keep_legal(transitions: Transitions) -> Transitions:
    """The scores of transitions, minus infinity for those that no entities have."""
    legal = legal_moves(len(transitions.start), device=transitions.start.device)
    masked = [
        scores.masked_fill(~mask, -torch.inf)
        for scores, mask in zip(transitions, legal, strict=True)
    ]
    return Transitions(*masked)


def find_spans(tags: Int[Tensor, " token"]) -> Spans:
    """The entities of legal tags, those of all sequences of a batch one after the other."""
    inside = tags != OUTSIDE
    parts = (tags - 1) % N_PARTS
    starts = (inside & ((parts == BEGIN) | (parts == UNIT))).nonzero().squeeze(1)
    lasts = (inside & ((parts == LAST) | (parts == UNIT))).nonzero().squeeze(1)
    return Spans(starts, lasts + 1, (tags[starts] - 1) // N_PARTS)
