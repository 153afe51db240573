"""How well the values that rows get when left out of a fit say what was answered."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

# Beyond this many rows the penalty and the scale are chosen on a part of them.
ENOUGH_TO_CHOOSE = 512
# Factors between a scale and its neighbours.
FINER = tuple(2 ** (step / 12) for step in range(-12, 13))


class Fitted(NamedTuple):
    """A fitted regression.

    Attributes:
        weight: the logits of a row are `[row, 1] @ weight`.
        penalty: of the squared weights.
        scale: from regression values to logits; `weight` has it already.
    """

    weight: Float[Tensor, "column label"]
    penalty: float
    scale: float


class Choice(NamedTuple):
    """How strongly a regression is held back, and from what its values become logits.

    Attributes:
        penalty: of the squared weights, for rows of length 1.
        scale: from regression values to logits.
    """

    penalty: float
    scale: float


def choose(
    candidates: Iterable[tuple[float, Float[Tensor, "row label"]]],
    targets: Float[Tensor, "row label"],
    importance: Float[Tensor, " row"],
    *,
    exclusive: bool,
    usual: Choice,
    scales: tuple[float, ...],
) -> Choice:
    """The penalty and the scale whose leave-one-out log-loss is smallest.

    Args:
        candidates: penalties, and the values that rows get when left out of the fit by each.
        usual: the logarithms of both are taken to be normal around these.
        scales: are tried, and then what lies between the best and its neighbours.
    """
    tried = targets.new_tensor(scales)
    best, values = (math.inf, usual), torch.zeros_like(targets)
    for penalty, left_out in candidates:
        losses = (tried / usual.scale).log() ** 2 + math.log(penalty / usual.penalty) ** 2
        losses = losses + log_losses(
            tried.view(-1, 1, 1) * left_out, targets, importance, exclusive=exclusive
        )
        place = int(losses.argmin())
        if float(losses[place]) < best[0]:
            best, values = (float(losses[place]), Choice(penalty, scales[place])), left_out
    _, (penalty, scale) = best
    # Half a step too far says 0.82 where 0.75 is true: between its neighbours the scale is looked
    # for closely.
    tried = scale * targets.new_tensor(FINER)
    losses = (tried / usual.scale).log() ** 2
    losses = losses + log_losses(
        tried.view(-1, 1, 1) * values, targets, importance, exclusive=exclusive
    )
    return Choice(penalty, float(tried[int(losses.argmin())]))


def log_losses(
    logits: Float[Tensor, "choice row label"],
    targets: Float[Tensor, "row label"],
    importance: Float[Tensor, " row"],
    *,
    exclusive: bool,
) -> Float[Tensor, " choice"]:
    """The summed log-loss of what is known, for each of several choices of logits.

    Of exclusive labels a row counts once its true label is known, or else by the labels
    that it is known not to have.
    """
    if not exclusive:
        known = ~targets.isnan()
        truth = targets.nan_to_num()
        losses = torch.nn.functional.softplus(logits) - truth * logits
        return torch.where(known, losses, 0.0).sum(dim=(1, 2))
    logs = logits.log_softmax(dim=2)
    possible = read_possible(targets)
    kept = logs.masked_fill(~possible, -math.inf).logsumexp(dim=2)
    # Every label refused: nothing to learn about which one it is.
    losses = torch.where(possible.any(dim=1), -kept, 0.0)
    return (losses * importance).sum(dim=1)


def read_possible(targets: Float[Tensor, "row label"]) -> Bool[Tensor, "row label"]:
    """Which of exclusive labels a row may have: the true one, or else those not refused."""
    is_true = targets == 1
    return torch.where(is_true.any(dim=1, keepdim=True), is_true, targets != 0)
