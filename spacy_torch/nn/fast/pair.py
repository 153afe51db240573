"""A fast learner and a slow one that learns what the fast one leaves over, as one classifier."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from spacy_torch.nn.fast.classifier import FastBatch, FastClassifier
from spacy_torch.nn.fast.evidence import log_losses

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# How much the logits of the fast and of the slow learner may count, and how many answers'
# worth of doubt each pair of shares has to overcome. Each learner alone is among them.
SHARES = (
    (1.0, 0.0),
    (1.0, 0.1),
    (1.0, 0.25),
    (1.0, 0.5),
    (1.0, 1.0),
    (0.5, 0.5),
    (0.5, 1.0),
    (0.0, 0.5),
    (0.0, 1.0),
)
DOUBT = (0.0, 0.5, 1.0, 2.0, 3.0, 3.0, 3.0, 4.0, 4.0)
# How often the slow learner is trained on its own, and not on what the fast one leaves over:
# of that alone it would see little once the fast one is mostly right.
ALONE = 0.5
# One answer in so many is never shown to the slow learner, but says how good it is.
HELD_OUT = 16
# What evidence is worth one answer later: the slow learner is another one by then.
MEMORY = 0.99
# With nothing new among the answers, the slow learner is tested every so many updates.
TEST_EVERY = 8


class PairBatch(NamedTuple):
    """What the two learners read of the same items."""

    fast: FastBatch
    slow: Any


class FastSlowClassifier(nn.Module):
    """The logits of a fast learner and of a slow one, each by its share.

    The slow one is trained, by gradient, on top of what the fast one would say had it not
    seen the answer itself, and half of the time alone. The shares rest on evidence: on
    answers before either has learned them, and on one in sixteen that is kept from the slow
    one, the log-loss of several pairs of shares is measured, and their average is taken
    with weights that fall with the loss (Bayesian model averaging with forgetting). With
    no evidence the slow one's share is near nothing, and a network that overfits stays
    without a say; one that knows better takes over.

    Args:
        fast: learns from `answer`.
        slow: maps its part of a batch to logits of shape (batch, label).
    """

    evidence: Tensor

    def __init__(self, *, fast: FastClassifier, slow: nn.Module) -> None:
        super().__init__()
        self.fast = fast
        self.slow = slow
        self.register_buffer("evidence", -torch.tensor(DOUBT))
        self._untested = 0

    @property
    def shares(self) -> Tensor:
        """How much the logits of the fast and of the slow learner count, from 0 to 1."""
        return self.evidence.softmax(0) @ self.evidence.new_tensor(SHARES)

    def grown_sizes(self) -> dict[str, int]:
        """The sizes that answers have changed since the module was built."""
        return self.fast.grown_sizes()

    def forward(self, batch: PairBatch) -> Float[Tensor, "batch label"]:
        """Score a batch; returns logits."""
        slow: Tensor = self.slow(batch.slow)
        fast = self.fast(batch.fast).to(slow.dtype)
        if not self.training:
            of_fast, of_slow = self.shares.to(slow.dtype)
            return of_fast * fast + of_slow * slow
        held_out = is_held_out(batch.fast.keys).unsqueeze(1)
        is_alone = torch.rand(len(fast), 1, device=fast.device) < ALONE
        return fast.masked_fill(is_alone, 0.0) + torch.where(held_out, slow.detach(), slow)

    @torch.no_grad()
    def answer(self, batch: PairBatch, targets: Float[Tensor, "batch label"]) -> bool:
        """Let the fast learner take in the answers, and see how far the slow one can be trusted.

        Returns:
            Whether that was anything new.
        """
        _, found = self.fast.answers.find(batch.fast.keys)
        is_test = ~found | is_held_out(batch.fast.keys)
        self._untested += 1
        if bool((~found).any()) or (bool(is_test.any()) and self._untested >= TEST_EVERY):
            self._weigh(batch, targets, is_test)
            self._untested = 0
        return self.fast.answer(batch.fast, targets)

    def forget(self, keys: Int[Tensor, " batch"]) -> bool:
        """Take answers back from the fast learner; returns whether there were any.

        What the slow one learned from them it keeps.
        """
        return self.fast.forget(keys)

    def is_guessing(self) -> bool:
        """Whether the fast learner is, see `FastClassifier`: only of it there is such evidence."""
        return self.fast.is_guessing()

    def learn_pool(self, batches: Iterable[PairBatch]) -> None:
        """Let the fast learner's features learn from items without answers."""
        self.fast.learn_pool(batch.fast for batch in batches)

    def _weigh(self, batch: PairBatch, targets: Tensor, is_test: Tensor) -> None:
        fast = self.fast.score_left_out(batch.fast)[is_test]
        slow = self.slow(batch.slow).to(fast.dtype)[is_test]
        of_fast, of_slow = fast.new_tensor(SHARES).T.reshape(2, -1, 1, 1)
        losses = log_losses(
            of_fast * fast + of_slow * slow,
            targets.to(fast.dtype)[is_test],
            fast.new_ones(len(fast)),
            exclusive=self.fast.exclusive,
        )
        kept = MEMORY ** int(is_test.sum())
        before = self.evidence + self.evidence.new_tensor(DOUBT)
        # The best are at zero, so that the numbers stay small.
        now = kept * before - losses
        self.evidence = now - now.max() - self.evidence.new_tensor(DOUBT)


def is_held_out(keys: Int[Tensor, " batch"]) -> Tensor:
    """Whether the slow learner never gets to see an item."""
    return keys % HELD_OUT == 0
