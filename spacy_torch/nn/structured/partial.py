"""The loss of entity tags of which only a part may be known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spacy_torch.nn.structured.biluo import Spans, keep_legal
from spacy_torch.nn.structured.chain import TagScores, take_sequences
from spacy_torch.nn.structured.crf import log_partition, score_paths
from spacy_torch.nn.structured.rejected import without_spans

if TYPE_CHECKING:
    from jaxtyping import Float, Int

UNKNOWN = -1


def entity_loss(
    scores: TagScores, tags: Int[Tensor, " token"], rejected: Spans | None = None
) -> Float[Tensor, ""]:
    """Negative log-probability of all that the annotation leaves open, summed over the batch.

    What is not known is summed over (Tsuboi et al. 2008, https://aclanthology.org/C08-1113):
    the loss is the log-partition of all legal paths less that of those that agree with the
    annotation. A sequence of which nothing is known has no part, and its gradient is zero.

    Args:
        scores: of BILUO tags, the transitions as they were learned.
        tags: the known tag of each token, or `UNKNOWN`.
        rejected: entities that are not there.

    What is known must leave a path, or the loss is infinite.
    """
    emissions, transitions = scores.emissions, keep_legal(scores.transitions)
    ids = emissions.sequence_ids()
    known = tags != UNKNOWN
    is_informed = _any_of(known, ids, emissions.lengths)
    is_open = _any_of(~known, ids, emissions.lengths)
    if rejected is not None and len(rejected.starts):
        is_informed[ids[rejected.starts]] = True
    else:
        rejected = None
    if not bool(is_informed.any()):
        return emissions.values.sum() * 0.0
    total = log_partition(take_sequences(emissions, is_informed), transitions).sum()
    is_closed = is_informed & ~is_open
    is_open = is_informed & is_open
    if bool(is_closed.any()):
        closed_tags = tags[is_closed[ids]]
        paths = score_paths(take_sequences(emissions, is_closed), transitions, closed_tags)
        total = total - paths.sum()
    if bool(is_open.any()):
        total = total - _agreeing(TagScores(emissions, transitions), tags, rejected, is_open).sum()
    return total


def _agreeing(scores: TagScores, tags: Tensor, rejected: Spans | None, keep: Tensor) -> Tensor:
    """The log-partition of what agrees with the annotation, for some of the sequences."""
    emissions, transitions = scores
    ids = emissions.sequence_ids()
    kept = keep[ids]
    tags = tags[kept]
    columns = torch.arange(len(transitions.start), device=tags.device)
    allowed = (tags.unsqueeze(1) == columns) | (tags == UNKNOWN).unsqueeze(1)
    part = TagScores(take_sequences(emissions, keep), transitions)
    if rejected is None:
        return log_partition(*part, allowed)
    new_rows = kept.cumsum(0) - 1
    inside = kept[rejected.starts]
    starts = rejected.starts[inside]
    rejected = Spans(
        new_rows[starts],
        new_rows[starts] + (rejected.ends - rejected.starts)[inside],
        rejected.labels[inside],
    )
    widened, may = without_spans(part, allowed, rejected)
    return log_partition(*widened, may)


def _any_of(marks: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """For each sequence, whether any of its tokens is marked."""
    return torch.zeros_like(lengths).index_add(0, ids, marks.to(lengths.dtype)) > 0
