"""A classifier that learns each answer at once, exactly, on features that stay as they are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from spacy_torch.nn.fast.answers import Answers
from spacy_torch.nn.fast.evidence import ENOUGH_TO_CHOOSE, Choice, Fitted
from spacy_torch.nn.fast.regression import LeaveOut, Regression, RidgeRegression

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# So many standard errors above guessing are knowledge: one guesser in a hundred gets there.
KNOWING = 2.33
# And so many answers are looked at for it.
ENOUGH_TO_KNOW = 256


class FastBatch(NamedTuple):
    """What a fast learner reads.

    Attributes:
        keys: what each item is known by. Two items with the same key are the same.
        inputs: what the features are made from.
    """

    keys: Int[Tensor, " batch"]
    inputs: Any


class FastClassifier(nn.Module):
    """Frozen features and a regression over everything answered so far.

    The weights are a function of the set of answers alone: the order of the answers does
    not matter, giving one again changes nothing, and one can be taken back. There is
    nothing for an optimizer to do.

    Args:
        features: maps the inputs of a batch to rows of shape (batch, width), of length 1
            at most. May have `learn_pool` (see there).
        width: the size of a row.
        exclusive: at most one label is true.
        n_answers: of the set, stored with the weights.
        regression: how the weights follow from the answers; by default a ridge regression.
    """

    def __init__(
        self,
        features: nn.Module,
        *,
        width: int,
        n_labels: int,
        exclusive: bool,
        n_answers: int = 0,
        regression: Regression | None = None,
    ) -> None:
        super().__init__()
        self.features = features
        self.exclusive = exclusive
        self.regression = regression or RidgeRegression(exclusive=exclusive)
        self.answers = Answers(width=width, n_labels=n_labels, n_answers=n_answers)
        # Not buffers, which a refused step puts back: an answer is no part of a step.
        self.weight = nn.Parameter(torch.zeros(width + 1, n_labels), requires_grad=False)
        # The penalty and the scale of the fit.
        usual = torch.tensor(self.regression.usual)
        self.fit = nn.Parameter(usual, requires_grad=False)
        self._leave_out: LeaveOut | None = None
        # Penalty and scale, not yet rounded, and the answers that they were chosen from: not to
        # choose again among many.
        self._chosen: tuple[Choice, Tensor, Tensor] | None = None

    def grown_sizes(self) -> dict[str, int]:
        """The sizes that answers have changed since the module was built."""
        return {"n_answers": len(self.answers)}

    def forward(self, batch: FastBatch) -> Float[Tensor, "batch label"]:
        """Score a batch; returns logits. In training, as if it had not been answered."""
        rows = self.read_rows(batch.inputs)
        if self.training:
            return self._score_left_out(batch.keys, rows)
        return self._score(rows)

    def score_left_out(self, batch: FastBatch) -> Float[Tensor, "batch label"]:
        """Score a batch as if none of its items had been answered, each on its own."""
        return self._score_left_out(batch.keys, self.read_rows(batch.inputs))

    @torch.no_grad()
    def answer(self, batch: FastBatch, targets: Float[Tensor, "batch label"]) -> bool:
        """Learn what is known of a batch: 1 true, 0 false, NaN not known.

        Of exclusive labels a true one settles the others. Another answer about the same
        item replaces the one before, label by label.

        Returns:
            Whether that was anything new.
        """
        is_new = self.answers.add(batch.keys, self.read_rows(batch.inputs), self._settle(targets))
        if is_new:
            self._fit()
        return is_new

    @torch.no_grad()
    def forget(self, keys: Int[Tensor, " batch"]) -> bool:
        """Take answers back, as if they had never been given; returns whether there were any."""
        was_there = self.answers.remove(keys)
        if was_there:
            self._fit()
        return was_there

    @torch.no_grad()
    def is_guessing(self) -> bool:
        """Whether its answers do not show that it knows more than which label is frequent.

        Of exclusive labels only, and once there are answers that name one: each is scored as if
        it had not been given, and no more are right than by always naming the most frequent one,
        or so few more that chance would do.
        """
        targets = self.answers.read_targets()
        places = (targets == 1).any(dim=1).nonzero().squeeze(1)[:ENOUGH_TO_KNOW]
        if not self.exclusive or not len(places):
            return False
        labels = (targets[places] == 1).long().argmax(dim=1)
        n_right = int((self._read_leave_out()(places).argmax(dim=1) == labels).sum())
        n_named, n_frequent = len(places), int(labels.bincount().max())
        deviation = math.sqrt(n_frequent * (1 - n_frequent / n_named))
        return n_right <= n_frequent + KNOWING * deviation

    @torch.no_grad()
    def learn_pool(self, batches: Iterable[FastBatch]) -> None:
        """Let the features learn from items without answers.

        Raises:
            RuntimeError: there are answers, whose rows other features would not fit.
        """
        learn = getattr(self.features, "learn_pool", None)
        if learn is None:
            return
        if len(self.answers):
            raise RuntimeError(
                f"The features learn from a pool before the first answer, but {len(self.answers)} "
                "answers were learned already: initialize the component again"
            )
        learn(batch.inputs for batch in batches)

    @torch.no_grad()
    def read_rows(self, inputs: Any) -> Float[Tensor, "batch width"]:
        """The features of a batch, which never change."""
        rows: Tensor = self.features(inputs)
        return rows.float()

    def _settle(self, targets: Tensor) -> Tensor:
        """Of exclusive labels a true one settles the others, those added later among them."""
        if not self.exclusive:
            return targets
        settled = (targets == 1).any(dim=1, keepdim=True)
        return torch.where(settled & targets.isnan(), 0.0, targets)

    def _score(self, rows: Tensor) -> Tensor:
        return torch.addmm(self.weight[-1], rows, self.weight[:-1])

    @torch.no_grad()
    def _score_left_out(self, keys: Tensor, rows: Tensor) -> Tensor:
        logits = self._score(rows)
        place, found = self.answers.find(keys)
        if not found.any():
            return logits
        logits[found] = self._read_leave_out()(place[found]).to(logits.dtype)
        return logits

    def _fit(self) -> None:
        self._leave_out = None
        rows, targets = self.answers.read_rows(), self._settle(self.answers.read_targets())
        first = self.answers.keys[:ENOUGH_TO_CHOOSE], self.answers.targets[:ENOUGH_TO_CHOOSE]
        chosen = None
        if self._chosen is not None:
            before, *others = self._chosen
            if all(torch.equal(a, b) for a, b in zip(first, others, strict=True)):
                chosen = before
        fitted = self.regression.fit(rows, targets, chosen=chosen)
        self._chosen = Choice(fitted.penalty, fitted.scale), *first
        self.weight.copy_(fitted.weight)
        self.fit.copy_(self.fit.new_tensor([fitted.penalty, fitted.scale]))

    def _read_leave_out(self) -> LeaveOut:
        if self._leave_out is None:
            rows, targets = self.answers.read_rows(), self._settle(self.answers.read_targets())
            fitted = Fitted(self.weight, float(self.fit[0]), float(self.fit[1]))
            self._leave_out = self.regression.leave_out(rows, targets, fitted)
        return self._leave_out

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_leave_out": None, "_chosen": None}
