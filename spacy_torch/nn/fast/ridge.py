"""Ridge regression in closed form: the weights of labels from answered rows, in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spacy_torch.nn.fast.evidence import ENOUGH_TO_CHOOSE, Choice, Fitted, choose
from spacy_torch.nn.linear_algebra import cholesky, eigh, unique

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
SCALES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
# What they are taken to be before there is evidence.
USUAL = Choice(penalty=0.5, scale=4.0)
# Answers per label after which the labels' frequencies count as much as their means.
ENOUGH_PER_LABEL = 5


def fit_ridge(
    rows: Float[Tensor, "row width"],
    targets: Float[Tensor, "row label"],
    *,
    exclusive: bool,
    chosen: Choice | None = None,
) -> Fitted:
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
        return Fitted(weight, *USUAL)
    importance = balance_rows(targets) if exclusive else columns.new_ones(len(columns))
    root = importance.sqrt().unsqueeze(1)
    truth = (targets - centre(targets.shape[1], exclusive=exclusive)).nan_to_num() * root
    columns = columns * root
    if len(columns) > ENOUGH_TO_CHOOSE:
        if chosen is None:
            few = slice(ENOUGH_TO_CHOOSE)
            _, *found = fit_ridge(rows[few], targets[few], exclusive=exclusive)
            chosen = Choice(*found)
        for labels, known_rows in group_labels(known):
            part = columns[known_rows]
            products = part.T @ truth[known_rows][:, labels]
            weight[:, labels] = torch.cholesky_solve(products, factorize(part, chosen.penalty))
    else:
        spectra = [
            (labels, known_rows, _Spectrum(columns[known_rows]))
            for labels, known_rows in group_labels(known)
        ]
        chosen = chosen or choose(
            _leave_out(spectra, truth, root),
            targets,
            importance,
            exclusive=exclusive,
            usual=USUAL,
            scales=SCALES,
        )
        for labels, known_rows, spectrum in spectra:
            weight[:, labels] = spectrum.solve(truth[known_rows][:, labels], chosen.penalty)
    return Fitted(weight * chosen.scale, *chosen)


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


def _leave_out(
    spectra: list[tuple[Tensor, Tensor, _Spectrum]], truth: Tensor, root: Tensor
) -> Iterator[tuple[float, Tensor]]:
    """Each penalty, and the values that its fits give to the rows that they are without."""
    for penalty in PENALTIES:
        left_out = torch.zeros_like(truth)
        for labels, known_rows, spectrum in spectra:
            values = spectrum.leave_one_out(truth[known_rows][:, labels], penalty)
            left_out[known_rows.nonzero(), labels] = values / root[known_rows]
        yield penalty, left_out


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
