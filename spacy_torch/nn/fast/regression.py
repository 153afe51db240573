"""How a fast classifier gets its weights from its answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from spacy_torch.nn.fast.evidence import Choice, Fitted
from spacy_torch.nn.fast.ridge import (
    USUAL,
    balance_rows,
    centre,
    factorize,
    fit_ridge,
    group_labels,
    leave_one_out,
)

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# Places among the rows that were fitted -> the logits that these would get had they not been,
# shape (place, label).
LeaveOut = Callable[["Int[Tensor, ' place']"], "Float[Tensor, 'place label']"]


class Regression(Protocol):
    """Weights as a function of rows and their targets, and of nothing else."""

    @property
    def usual(self) -> Choice:
        """The penalty and the scale where there are no answers."""
        ...

    def fit(
        self,
        rows: Float[Tensor, "row width"],
        targets: Float[Tensor, "row label"],
        *,
        chosen: Choice | None,
    ) -> Fitted:
        """Fit rows of length 1 at most to targets: 1, 0, and NaN where nothing is known.

        Args:
            chosen: penalty and scale, if they were chosen before from the same first
                `ENOUGH_TO_CHOOSE` rows.
        """
        ...

    def leave_out(
        self,
        rows: Float[Tensor, "row width"],
        targets: Float[Tensor, "row label"],
        fitted: Fitted,
    ) -> LeaveOut:
        """The scores of rows that were fitted, as if they had not been."""
        ...


class RidgeRegression:
    """Least squares; see `fit_ridge`.

    Args:
        exclusive: at most one label of a row is true.
    """

    usual = USUAL

    def __init__(self, *, exclusive: bool) -> None:
        self.exclusive = exclusive

    def fit(self, rows: Tensor, targets: Tensor, *, chosen: Choice | None) -> Fitted:
        """See `Regression`."""
        return fit_ridge(rows, targets, exclusive=self.exclusive, chosen=chosen)

    def leave_out(self, rows: Tensor, targets: Tensor, fitted: Fitted) -> LeaveOut:
        """See `Regression`."""
        columns = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
        importance = balance_rows(targets) if self.exclusive else targets.new_ones(len(targets))
        part = columns * importance.sqrt().unsqueeze(1)
        truth = targets - centre(targets.shape[1], exclusive=self.exclusive)
        groups = [
            (labels, known, factorize(part[known], fitted.penalty))
            for labels, known in group_labels(~targets.isnan())
        ]

        def score(places: Tensor) -> Tensor:
            values = columns[places] @ fitted.weight.double() / fitted.scale
            for labels, known, factor in groups:
                is_known = known[places]
                some = places[is_known]
                values[is_known.nonzero(), labels] = leave_one_out(
                    columns[some],
                    truth[some][:, labels],
                    importance[some],
                    values[is_known][:, labels],
                    factor=factor,
                )
            return values * fitted.scale

        return score
