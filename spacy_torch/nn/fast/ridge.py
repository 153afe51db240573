"""Ridge regression in closed form: the weights of labels from answered rows, in milliseconds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from spacy_torch.nn.linear_algebra import cholesky, eigh, unique

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
SCALES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
# Factors between a scale and its neighbours.
FINER = tuple(2 ** (step / 12) for step in range(-12, 13))
# What a penalty and a scale are taken to be before there is evidence, for rows of length 1.
USUAL_PENALTY = 0.5
USUAL_SCALE = 4.0
# Beyond this many rows the penalty and the scale are chosen on a part of them.
ENOUGH_TO_CHOOSE = 512
# Answers per label after which the labels' frequencies count as much as their means.
ENOUGH_PER_LABEL = 5


class Ridge(NamedTuple):
    """A fitted regression.

    Attributes:
        weight: the logits of a row are `[row, 1] @ weight`.
        penalty: of the squared weights.
        scale: from regression values to logits; `weight` has it already.
    """

    weight: Float[Tensor, "column label"]
    penalty: float
    scale: float


def fit_ridge(
    rows: Float[Tensor, "row width"],
    targets: Float[Tensor, "row label"],
    *,
    exclusive: bool,
    chosen: tuple[float, float] | None = None,
) -> Ridge:
    """Fit every label on the rows whose answer for it is known.

    Penalty and scale are those whose leave-one-out probabilities of the answers are best
    (the residual of a row left out is its residual divided by one minus its leverage, so
    nothing is fitted twice), held near usual values while there are few answers. Labels
    with few examples count as much as those with many at the beginning, which makes a
    strongly penalized fit the nearest class mean, and less so as answers come in. The
    fit depends on the set of rows only; their order changes nothing but rounding.

    Args:
        rows: of length 1 at most; float64.
        targets: 1, 0, values between, and NaN where the answer is not known.
        exclusive: at most one label of a row is true.
        chosen: penalty and scale, if they are known: chosen before from the same first
            `ENOUGH_TO_CHOOSE` rows.

    Returns:
        Weights of zeros where there are no rows.
    """
    rows, targets = rows.double(), targets.double()
    columns = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
    weight = columns.new_zeros(columns.shape[1], targets.shape[1])
    known = ~targets.isnan()
    if not known.any():
        return Ridge(weight, USUAL_PENALTY, USUAL_SCALE)
    importance = balance_rows(targets) if exclusive else columns.new_ones(len(columns))
    root = importance.sqrt().unsqueeze(1)
    centred = (targets - centre(targets.shape[1], exclusive=exclusive)).nan_to_num()
    few = slice(ENOUGH_TO_CHOOSE)
    spectra: list[tuple[Tensor, Tensor, _Spectrum]] = []
    if chosen is None or len(columns) <= ENOUGH_TO_CHOOSE:
        spectra = [
            (labels, known_rows, _Spectrum((columns * root)[few][known_rows]))
            for labels, known_rows in group_labels(known[few])
        ]
    penalty, scale = chosen or _choose(
        spectra, centred[few], targets[few], importance[few], exclusive=exclusive
    )
    if len(columns) <= ENOUGH_TO_CHOOSE:
        for labels, known_rows, spectrum in spectra:
            truth = (centred * root)[known_rows][:, labels]
            weight[:, labels] = spectrum.solve(truth, penalty)
    else:
        for labels, known_rows in group_labels(known):
            part, truth = (columns * root)[known_rows], (centred * root)[known_rows][:, labels]
            weight[:, labels] = torch.cholesky_solve(part.T @ truth, factorize(part, penalty))
    return Ridge(weight * scale, penalty, scale)


def leave_one_out(
    columns: Float[Tensor, "some column"],
    targets: Float[Tensor, "some label"],
    importance: Float[Tensor, " some"],
    fitted: Float[Tensor, "some label"],
    *,
    factor: Float[Tensor, "column column"],
) -> Float[Tensor, "some label"]:
    """The values that rows would get had they not been fitted, from those they get.

    Args:
        columns: some of the rows that were fitted, with a 1 behind each.
        targets: their truth, as it was fitted.
        importance: how much each counted.
        fitted: the values that the fit gives them.
        factor: of the fit, see `factorize`.
    """
    solved = torch.cholesky_solve(columns.T, factor)
    leverage = ((columns.T * solved).sum(0) * importance).clamp(max=1 - 1e-9).unsqueeze(1)
    return (fitted - leverage * targets) / (1 - leverage)


def balance_rows(targets: Float[Tensor, "row label"]) -> Float[Tensor, " row"]:
    """How much each row of exclusive labels counts, 1 on average.

    A row whose label is not known counts 1.
    """
    importance = targets.new_ones(len(targets))
    settled = (targets == 1).any(dim=1)
    if not settled.any():
        return importance
    label = targets[settled].nan_to_num().argmax(dim=1)
    counts = torch.bincount(label, minlength=targets.shape[1])
    n_rows, n_found = int(settled.sum()), int((counts > 0).sum())
    strength = 1 / (1 + n_rows / (ENOUGH_PER_LABEL * n_found))
    importance[settled] = (n_rows / (n_found * counts[label])).to(targets.dtype) ** strength
    return importance


def factorize(part: Float[Tensor, "row column"], penalty: float) -> Float[Tensor, "column column"]:
    """The Cholesky factor of the penalized Gram matrix of weighted rows."""
    gram = part.T @ part
    gram.diagonal().add_(penalty)
    return cholesky(gram)


class _Spectrum:
    """The eigenvectors of weighted rows, from which any penalty's fit is a product.

    Taken from the smaller of the two Gram matrices: of the rows (the dual form) while
    there are fewer rows than columns, of the columns after.
    """

    def __init__(self, part: Float[Tensor, "row column"]) -> None:
        self.part = part
        n_rows, n_columns = part.shape
        if n_rows <= n_columns:
            values, self.left = eigh(part @ part.T)
            self.values = values.clamp(min=0)
        else:
            values, right = eigh(part.T @ part)
            kept = values > values[-1] * n_rows * torch.finfo(values.dtype).eps
            self.values = values[kept]
            self.left = part @ (right[:, kept] / self.values.sqrt())

    def solve(self, truth: Tensor, penalty: float) -> Tensor:
        """The weights for one penalty."""
        spread = (self.left.T @ truth) / (self.values + penalty).unsqueeze(1)
        return self.part.T @ (self.left @ spread)

    def leave_one_out(self, truth: Tensor, penalty: float) -> Tensor:
        """The value that each row gets from the fit of all others, in weighted rows."""
        shrunk = self.values / (self.values + penalty)
        fitted = self.left @ (shrunk.unsqueeze(1) * (self.left.T @ truth))
        leverage = ((self.left**2) @ shrunk).clamp(max=1 - 1e-9).unsqueeze(1)
        return (fitted - leverage * truth) / (1 - leverage)


def _choose(
    spectra: list[tuple[Tensor, Tensor, _Spectrum]],
    centred: Tensor,
    targets: Tensor,
    importance: Tensor,
    *,
    exclusive: bool,
) -> tuple[float, float]:
    """The penalty and the scale whose leave-one-out log-loss is smallest."""
    scales = targets.new_tensor(SCALES)
    root = importance.sqrt().unsqueeze(1)
    # The logarithms of both are taken to be normal around the usual values.
    prior = (scales / USUAL_SCALE).log() ** 2
    best = (math.inf, USUAL_PENALTY, USUAL_SCALE, torch.zeros_like(centred))
    for penalty in PENALTIES:
        left_out = torch.zeros_like(centred)
        for labels, known_rows, spectrum in spectra:
            truth = (centred * root)[known_rows][:, labels]
            values = spectrum.leave_one_out(truth, penalty) / root[known_rows]
            left_out[known_rows.nonzero(), labels] = values
        losses = prior + math.log(penalty / USUAL_PENALTY) ** 2
        losses = losses + log_losses(
            scales.view(-1, 1, 1) * left_out, targets, importance, exclusive=exclusive
        )
        place = int(losses.argmin())
        if float(losses[place]) < best[0]:
            best = (float(losses[place]), penalty, SCALES[place], left_out)
    _, penalty, scale, left_out = best
    # Half a step too far says 0.82 where 0.75 is true: between its neighbours the scale is looked
    # for closely.
    scales = scale * scales.new_tensor(FINER)
    losses = (scales / USUAL_SCALE).log() ** 2
    losses = losses + log_losses(
        scales.view(-1, 1, 1) * left_out, targets, importance, exclusive=exclusive
    )
    return penalty, float(scales[int(losses.argmin())])


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
    is_true, is_false = targets == 1, targets == 0
    settled = is_true.any(dim=1)
    possible = torch.where(settled.unsqueeze(1), is_true, ~is_false)
    kept = logs.masked_fill(~possible, -math.inf).logsumexp(dim=2)
    # Every label refused: nothing to learn about which one it is.
    losses = torch.where(possible.any(dim=1), -kept, 0.0)
    return (losses * importance).sum(dim=1)


def centre(n_labels: int, *, exclusive: bool) -> float:
    """The value that stands for not knowing; the regression is about what lies off it."""
    return 1 / n_labels if exclusive else 0.5


def group_labels(known: Bool[Tensor, "row label"]) -> list[tuple[Tensor, Tensor]]:
    """The labels that are known for the same rows, and these rows, so as to fit them at once."""
    if bool(known.all()):  # the usual case, and finding it out by sorting would take long
        every = torch.arange(known.shape[1], device=known.device)
        return [(every, known[:, 0])] if known.numel() else []
    patterns, group = unique(known, dim=1)
    return [
        ((group == place).nonzero().squeeze(1), pattern)
        for place, pattern in enumerate(patterns.T)
        if pattern.any()
    ]
