"""Multinomial logistic regression on answered rows: a set number of steps, from zeros."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from spacy_torch.nn.fast.evidence import ENOUGH_TO_CHOOSE, Choice, Fitted, choose, read_possible
from spacy_torch.nn.fast.regression import LeaveOut
from spacy_torch.nn.fast.ridge import balance_rows
from spacy_torch.nn.linear_algebra import cholesky, eigh, solve_lower

if TYPE_CHECKING:
    from jaxtyping import Float, Int

PENALTIES = (0.1, 0.3, 1.0)
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
# What they are taken to be before there is evidence.
USUAL = Choice(penalty=0.3, scale=1.5)
# After so many steps what is predicted hardly changes any more.
STEPS = 30
# When a row is left out, those that are hardest to tell from a label are looked at one by one: so
# many, and so many times the label's share of all. The others are taken together.
CLOSE = 16
SHARES = 4


class LogisticRegression:
    """The probabilities of exclusive labels.

    Least squares lets a label that lies between others be masked by them, which with many
    labels costs points (Hastie, Tibshirani and Friedman 2009, The elements of statistical
    learning, section 4.2); the log-loss does not. It is summed over the rows, which count as
    in `fit_ridge`, and is that of what a row may be: its true label or, where only refused
    ones are known, any of the others.

    Accelerated gradient steps, preconditioned by the bound on the curvature of Böhning (1992),
    Multinomial logistic regression algorithm, which makes each of them safe. They always start
    from zeros, so that the fit is a function of the rows and their targets only.
    """

    usual = USUAL

    def fit(
        self,
        rows: Float[Tensor, "row width"],
        targets: Float[Tensor, "row label"],
        *,
        chosen: Choice | None = None,
    ) -> Fitted:
        """See `Regression`; weights of zeros where there are no rows."""
        if not len(rows):
            return Fitted(rows.new_zeros(rows.shape[1] + 1, targets.shape[1]), *USUAL)
        if chosen is None and len(rows) > ENOUGH_TO_CHOOSE:
            few = slice(ENOUGH_TO_CHOOSE)
            _, *found = self.fit(rows[few], targets[few])
            chosen = Choice(*found)
        problem = _Problem(rows, targets)
        chosen = chosen or choose(
            problem.leave_each_out(),
            problem.targets,
            problem.importance,
            exclusive=True,
            usual=USUAL,
            scales=SCALES,
        )
        weight = problem.directions @ problem.solve(chosen.penalty).double()
        return Fitted(weight * chosen.scale, *chosen)

    def leave_out(
        self,
        rows: Float[Tensor, "row width"],
        targets: Float[Tensor, "row label"],
        fitted: Fitted,
    ) -> LeaveOut:
        """See `Regression`; one Newton step away from the fit, see `_Problem.leave_out`."""
        problem = _Problem(rows, targets)
        return lambda places: fitted.scale * problem.leave_out(places, fitted.penalty)


class _Problem:
    """A regression in the coordinates in which the squares of the rows are apart.

    It is solved in single precision: in half the time, and with more digits than answers have.

    Attributes:
        directions: orthonormal, that the rows span; shape (column, direction).
        strengths: of the weighted rows along each, squared.
        places: of the rows along them.
    """

    def __init__(self, rows: Tensor, targets: Tensor) -> None:
        self.targets = targets.double()
        self.importance = balance_rows(self.targets)
        possible = read_possible(self.targets)
        # Every label refused: nothing to learn about which one it is.
        self.possible = possible | ~possible.any(dim=1, keepdim=True)
        columns = torch.cat([rows.double(), self.targets.new_ones(len(rows), 1)], dim=1)
        part = columns * self.importance.sqrt().unsqueeze(1)
        self.strengths, self.directions = _span(part)
        self.places = columns @ self.directions
        self._solved: dict[float, Tensor] = {}

    def solve(self, penalty: float) -> Float[Tensor, "direction label"]:
        """The weights, along the directions."""
        if penalty not in self._solved:
            self._solved[penalty] = self._descend(penalty)
        return self._solved[penalty]

    def leave_each_out(self) -> Iterator[tuple[float, Float[Tensor, "row label"]]]:
        """Each penalty, and the values that rows get when left out of its fit."""
        every = torch.arange(len(self.places), device=self.places.device)
        for penalty in PENALTIES:
            yield penalty, self.leave_out(every, penalty)

    def leave_out(self, rows: Int[Tensor, " some"], penalty: float) -> Float[Tensor, "some label"]:
        """The values that some of the rows get when left out of the fit, each on its own.

        By one Newton step from the fit of all (Rad and Maleki 2020, A scalable estimate of the
        out-of-sample prediction error via approximate leave-one-out cross-validation), with the
        curvature of each label taken by itself.
        """
        places, importance = self.places.float(), self.importance.float().unsqueeze(1)
        strengths = self.strengths.float()
        values = places @ self.solve(penalty)
        n_rows, n_labels = values.shape
        said, true = self._say(values)
        curvature = (said * (1 - said) - true * (1 - true)).clamp(min=0)
        # Of logits whose sum cannot change, which the labels one by one would not know.
        curvature *= importance * n_labels / max(n_labels - 1, 1)
        n_close = min(n_rows, CLOSE + math.ceil(SHARES * n_rows / n_labels), ENOUGH_TO_CHOOSE)
        leverage = values.new_empty(len(rows), n_labels)
        for label in range(n_labels):
            largest, close = curvature[:, label].topk(n_close)
            others = (curvature[:, label].sum() - largest.sum()) / max(n_rows - n_close, 1)
            others = others.clamp(min=0)
            whole = (penalty + others * strengths).rsqrt()
            mine, theirs = places[rows] * whole, places[close] * whole
            gram = theirs @ theirs.T
            gram.diagonal().add_(1 / (largest - others).clamp(min=1e-9))
            seen = solve_lower(cholesky(gram), theirs @ mine.T)
            leverage[:, label] = (mine**2).sum(dim=1) - (seen**2).sum(dim=0)
        pull = leverage * (importance * (true - said))[rows]
        left_out = values[rows] - pull / (1 - leverage * curvature[rows]).clamp(min=1e-3)
        return left_out.double()

    def _descend(self, penalty: float) -> Tensor:
        places, importance = self.places.float(), self.importance.float().unsqueeze(1)
        rate = (1 / (self.strengths / 2 + penalty)).float().unsqueeze(1)
        weight = places.new_zeros(places.shape[1], self.targets.shape[1])
        ahead, speed = weight, 1.0
        for _ in range(STEPS):
            said, true = self._say(places @ ahead)
            slope = places.T @ (importance * (said - true)) + penalty * ahead
            before, weight = weight, ahead - rate * slope
            if float((slope * (weight - before)).sum()) > 0:
                speed = 1.0  # uphill: O'Donoghue and Candès 2015, adaptive restart
            faster = (1 + math.sqrt(1 + 4 * speed**2)) / 2
            ahead = weight + (speed - 1) / faster * (weight - before)
            speed = faster
        return weight

    def _say(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """How probable labels are, and how probable among those that a row may have."""
        among = values.masked_fill(~self.possible, -math.inf)
        return values.softmax(dim=1), among.softmax(dim=1)


def _span(
    part: Float[Tensor, "row column"],
) -> tuple[Float[Tensor, " direction"], Float[Tensor, "column direction"]]:
    """Squared singular values and right singular vectors, from the smaller Gram matrix."""
    n_rows, n_columns = part.shape
    values, vectors = eigh(part @ part.T if n_rows <= n_columns else part.T @ part)
    kept = values > values[-1] * max(part.shape) * torch.finfo(values.dtype).eps
    values, vectors = values[kept], vectors[:, kept]
    return values, vectors if n_rows > n_columns else part.T @ (vectors / values.sqrt())
