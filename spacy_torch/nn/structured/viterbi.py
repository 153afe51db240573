"""The best path through a linear chain (Viterbi 1967)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.structured.chain import Transitions, order_by_time

if TYPE_CHECKING:
    from jaxtyping import Int


@torch.no_grad()
def best_paths(emissions: Ragged, transitions: Transitions) -> Int[Tensor, " token"]:
    """The tags of the path with the highest score, for each sequence.

    The way back looks the best tag up again where the path goes through, which is cheaper
    than keeping one for every tag on the way forth. Of equally good tags the one with the
    lowest column is taken.
    """
    values, lengths = emissions
    steps = order_by_time(lengths)
    best = values.index_select(0, steps.rows)
    if not len(best):
        return steps.rows
    incoming = transitions.between.t().contiguous()  # to, from
    bests = torch.split(best, steps.sizes)
    bests[0].add_(transitions.start)
    for before, now in zip(bests, bests[1:], strict=False):
        ways = before[: len(now)].unsqueeze(1) + incoming  # sequence, to, from
        now.add_(ways.amax(2))
    best[steps.lasts] += transitions.end
    tags = torch.empty_like(steps.rows)
    tags[steps.lasts] = best[steps.lasts].argmax(1)
    found = torch.split(tags, steps.sizes)
    for place in range(len(bests) - 1, 0, -1):
        n_going_on = len(found[place])
        ways = bests[place - 1][:n_going_on] + incoming.index_select(0, found[place])
        found[place - 1][:n_going_on] = ways.argmax(1)
    return torch.empty_like(tags).index_copy(0, steps.rows, tags)
