"""Losses of a classifier that may know only part of the truth.

All of them take

    logits: float tensor of shape (batch, label),
    targets: float tensor of the same shape: 1 is true, 0 is false, NaN is not known,
    weights: None, or one weight per label, shape (label,),

and return the sum over the batch, so that the gradient of a batch is that of its parts
added up. Where nothing is known the gradient is exactly zero.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Negative log-probability of what may be true, under a softmax.

    The labels that may be true are the one marked 1 or, where none is, all that are not
    marked 0: "not this label" is learned without naming another. A row where nothing is
    known, or where every label is marked 0, does not count.

    Args:
        weights: multiply a row by the weight of its true label; a row without one counts 1.
        label_smoothing: share of the target spread evenly over all labels, in rows with
            a true label (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567). What is
            spread has the weight of the row, not that of each label, unlike torch's
            `cross_entropy`.
    """
    log_probs = F.log_softmax(logits, dim=1)
    log_p, truth, counts = _log_p_of_what_may_be_true(log_probs, targets)
    rows = -log_p
    if label_smoothing:
        smoothed = label_smoothing * truth.sum(1)
        rows = (1 - smoothed) * rows - smoothed * log_probs.mean(1)
    return (rows * counts * _row_weights(truth, weights)).sum()


def binary_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Negative log-probability of each known label on its own, under a sigmoid.

    Args:
        weights: multiply the loss of true labels, to balance rare ones.
        label_smoothing: move the targets this far from 0 and 1 toward one half.
    """
    known = ~targets.isnan()
    truth = _smooth(torch.where(known, targets, 0.0), label_smoothing)
    cells = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=weights, reduction="none")
    return cells[known].sum()


def focal_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    gamma: float = 2.0,
) -> Tensor:
    """Cross-entropy in which easy rows count less, by the factor (1 - p)^gamma.

    From Lin et al. 2017, https://arxiv.org/abs/1708.02002, equation 4, with p the
    probability of what may be true; see `cross_entropy` for the rest.
    """
    log_probs = F.log_softmax(logits, dim=1)
    log_p, truth, counts = _log_p_of_what_may_be_true(log_probs, targets)
    return (_focus(log_p, gamma) * counts * _row_weights(truth, weights)).sum()


def focal_binary_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    gamma: float = 2.0,
) -> Tensor:
    """Binary cross-entropy in which easy cells count less, by the factor (1 - p)^gamma."""
    known = ~targets.isnan()
    true = targets == 1
    cells = _focus(F.logsigmoid(torch.where(true, logits, -logits)), gamma)
    if weights is not None:
        cells = cells * torch.where(true, weights, 1.0)
    return cells[known].sum()


def _log_p_of_what_may_be_true(
    log_probs: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor | float]:
    """For each row: the log-probability of what may be true, the truth, and if it counts."""
    truth = targets.nan_to_num(0.0)
    n_true = truth.sum(1)
    if bool((n_true == 1).all()):  # the usual case, at a fifth of the cost
        return (log_probs * truth).sum(1), truth, 1.0
    has_true = n_true > 0
    allowed = torch.where(has_true.unsqueeze(1), truth == 1, targets != 0)
    counts = allowed.any(1) & (has_true | (targets == 0).any(1))
    # A row that does not count allows everything: its loss is then 0 and not infinite.
    allowed = allowed | ~counts.unsqueeze(1)
    log_p = torch.logsumexp(log_probs.masked_fill(~allowed, -torch.inf), dim=1)
    return log_p, truth, counts.to(targets.dtype)


def _row_weights(truth: Tensor, weights: Tensor | None) -> Tensor | float:
    if weights is None:
        return 1.0
    return torch.where(truth.sum(1) > 0, truth @ weights, 1.0)


def _smooth(truth: Tensor, label_smoothing: float) -> Tensor:
    return truth * (1 - label_smoothing) + label_smoothing / 2 if label_smoothing else truth


def _focus(log_p: Tensor, gamma: float) -> Tensor:
    # 1 - p from log p; the clamp keeps the power's gradient finite at p = 1.
    return -((-torch.expm1(log_p)).clamp(min=1e-7) ** gamma) * log_p
