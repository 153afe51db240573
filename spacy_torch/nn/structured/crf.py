"""Linear-chain conditional random fields: log-partition, marginals, scores of paths.

The forward and backward passes of Lafferty, McCallum and Pereira 2001, in probability space
with every step scaled to sum to one (Rabiner 1989, section V.A), so that a step is one matrix
product. They are computed in double precision, where the device has it: what a token's scores
differ by may then be some hundreds, far beyond what training reaches, before a tag vanishes.
A loop runs over the time steps; at each, all sequences that are that long take part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd import Function

from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.structured.chain import TimeSteps, Transitions, allow_only, order_by_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float, Int


class Lattice(NamedTuple):
    """All paths of a batch after the forward and the backward pass; a row per time step.

    Attributes:
        steps: the order of the rows.
        forward: the probability of each tag given the tokens up to this one.
        backward: how much likelier what follows is after each tag than on the whole.
        potentials: exponentials of the emissions, divided by what the step was scaled by.
        log_potentials: the same as logarithms.
        between: exponentials of the transitions.
        totals: the weight of all paths of each sequence, after the scaling.
        log_z: the log-partition of each sequence.
    """

    steps: TimeSteps
    forward: Float[Tensor, "token tag"]
    backward: Float[Tensor, "token tag"]
    potentials: Float[Tensor, "token tag"]
    log_potentials: Float[Tensor, "token tag"]
    between: Float[Tensor, "tag tag"]
    totals: Float[Tensor, " batch"]
    log_z: Float[Tensor, " batch"]

    def marginals(self) -> Float[Tensor, "token tag"]:
        """The probability of each tag of each token, a row per time step."""
        totals = self.totals.index_select(0, self.steps.sequences).unsqueeze(1)
        return self.forward * self.backward / totals


def log_partition(
    emissions: Ragged,
    transitions: Transitions,
    allowed: Bool[Tensor, "token tag"] | None = None,
) -> Float[Tensor, " batch"]:
    """The logarithm of the summed weight of all paths, in double precision.

    Args:
        emissions: values of shape (token, tag).
        transitions: minus infinity where there is none.
        allowed: count only the paths whose every tag is marked.

    An empty sequence has one path, of weight 1: zero. Where no path is left it is minus
    infinity, and its gradient is not defined.
    """
    if allowed is not None:
        emissions = allow_only(emissions, allowed)
    apply = cast("Callable[..., Tensor]", _LogPartition.apply)  # pyright: ignore[reportUnknownMemberType]
    return apply(*emissions, *transitions)


def tag_marginals(emissions: Ragged, transitions: Transitions) -> Float[Tensor, "token tag"]:
    """The probability of each tag of each token, given all tokens of its sequence."""
    lattice = build_lattice(emissions, transitions)
    return torch.empty_like(lattice.forward).index_copy(0, lattice.steps.rows, lattice.marginals())


def score_paths(
    emissions: Ragged, transitions: Transitions, tags: Int[Tensor, " token"]
) -> Float[Tensor, " batch"]:
    """The score of one path for each sequence, in double precision."""
    values, lengths = emissions
    n_tags = len(transitions.start)
    dtype = precise_type(values.device)
    scores = values.gather(1, tags.unsqueeze(1)).squeeze(1).to(dtype)
    ids = emissions.sequence_ids()
    within = ids[1:] == ids[:-1]
    moves = transitions.between.flatten().index_select(0, (tags[:-1] * n_tags + tags[1:])[within])
    firsts = emissions.offsets()[lengths > 0]
    lasts = (lengths.cumsum(0) - 1)[lengths > 0]
    filled = lengths.nonzero().squeeze(1)
    return (
        scores.new_zeros(len(lengths))
        .index_add(0, ids, scores)
        .index_add(0, ids[1:][within], moves.to(dtype))
        .index_add(0, filled, transitions.start.index_select(0, tags[firsts]).to(dtype))
        .index_add(0, filled, transitions.end.index_select(0, tags[lasts]).to(dtype))
    )


@torch.no_grad()
def build_lattice(emissions: Ragged, transitions: Transitions) -> Lattice:
    """Both passes over a batch, without a gradient."""
    passed = _pass_forward(emissions, transitions)
    return Lattice(
        steps=passed.steps,
        forward=passed.forward,
        backward=_pass_backward(passed),
        potentials=passed.potentials,
        log_potentials=passed.scores - passed.scales,
        between=passed.between,
        totals=passed.totals,
        log_z=passed.log_z,
    )


def precise_type(device: torch.device) -> torch.dtype:
    """Double precision, or what comes nearest on this device."""
    return torch.float32 if device.type == "mps" else torch.float64


class _Forward(NamedTuple):
    steps: TimeSteps
    forward: Tensor
    potentials: Tensor  # divided by the scale of the step
    scores: Tensor
    scales: Tensor  # logarithms, of shape (token, 1)
    between: Tensor
    end: Tensor
    totals: Tensor
    log_z: Tensor


def _pass_forward(emissions: Ragged, transitions: Transitions) -> _Forward:
    values, lengths = emissions
    dtype = precise_type(values.device)
    steps = order_by_time(lengths)
    scores = values.index_select(0, steps.rows).to(dtype)
    # Nothing may be allowed at all: then there is no largest score.
    largest = scores.amax(1, keepdim=True)
    largest = largest.masked_fill(largest == -torch.inf, 0.0)
    potentials = (scores - largest).exp_()
    between, start, end = (part.to(dtype).exp() for part in transitions)
    forward = torch.empty_like(potentials)
    sums = torch.empty_like(largest)
    tiny = torch.finfo(dtype).tiny
    forwards, factors, totals = (
        torch.split(table, steps.sizes) for table in (forward, potentials, sums)
    )
    for place, (now, factor, total) in enumerate(zip(forwards, factors, totals, strict=True)):
        if place:
            torch.mm(forwards[place - 1][: len(now)], between, out=now).mul_(factor)
        else:
            torch.mul(factor, start, out=now)
        torch.sum(now, 1, keepdim=True, out=total).clamp_(min=tiny)
        now.div_(total)
    scales = largest + sums.log()
    ends = scores.new_ones(len(lengths)).index_copy(0, steps.filled, forward[steps.lasts] @ end)
    log_z = ends.log().index_add(0, steps.sequences, scales.squeeze(1))
    return _Forward(
        steps, forward, potentials.div_(sums), scores, scales, between, end, ends, log_z
    )


def _pass_backward(passed: _Forward) -> Tensor:
    sizes = passed.steps.sizes
    # The last token of a sequence keeps this; the others are overwritten.
    backward = passed.end.expand(len(passed.forward), -1).contiguous()
    backwards, factors = (torch.split(t, sizes) for t in (backward, passed.potentials))
    turned = passed.between.t().contiguous()
    for place in range(len(sizes) - 1, 0, -1):
        before = backwards[place - 1][: sizes[place]]
        torch.mm(backwards[place] * factors[place], turned, out=before)
    return backward


class _LogPartition(Function):
    """The log-partition, whose gradient is the marginals: no graph of the steps is kept."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        values, lengths, between, start, end = inputs
        passed = _pass_forward(Ragged(values, lengths), Transitions(between, start, end))
        ctx.passed = passed
        ctx.types = (values.dtype, between.dtype, start.dtype, end.dtype)
        return passed.log_z

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        passed: _Forward = ctx.passed
        steps, backward = passed.steps, _pass_backward(passed)
        weights = (d_outputs[0] / passed.totals).index_select(0, steps.sequences).unsqueeze(1)
        weighted = backward * weights
        marginals = passed.forward * weighted
        d_between = torch.zeros_like(passed.between)
        if len(steps.sizes) > 1:
            later = slice(steps.sizes[0], None)
            sources = passed.forward.index_select(0, steps.before())
            targets = passed.potentials[later] * weighted[later]
            d_between = passed.between * (sources.t() @ targets)
        gradients = (
            torch.empty_like(marginals).index_copy(0, steps.rows, marginals),
            d_between,
            marginals[steps.firsts].sum(0),
            marginals[steps.lasts].sum(0),
        )
        d_values, *d_transitions = (g.to(t) for g, t in zip(gradients, ctx.types, strict=True))
        return d_values, None, *d_transitions
