"""The losses that a classifier's config can choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor
from typing_extensions import override

from spacy_torch.nn.losses import (
    binary_cross_entropy,
    cross_entropy,
    focal_binary_cross_entropy,
    focal_cross_entropy,
)


@runtime_checkable
class Loss(Protocol):
    """A loss of logits and targets: any object with these two methods.

    `exclusive` tells whether exactly one label is true, so that one loss may serve both
    kinds of classifier. `serves` tells which kinds it can.
    """

    def __call__(
        self, logits: Tensor, targets: Tensor, weights: Tensor | None, *, exclusive: bool
    ) -> Tensor:
        """The loss summed over the batch, one number that depends on the logits.

        Args:
            logits: float32, shape (batch, label); not yet probabilities.
            targets: float32 of the same shape: 1 is true, 0 is false, NaN is not known.
                A cell that is not known must train nothing: pick the known ones first
                (`known = ~targets.isnan()`, then `logits[known]` and `targets[known]`),
                as NaN times 0 is still NaN, also in a gradient. A batch may know
                nothing at all; the sum over no cells is right for it.
            weights: one factor per label, shape (label,), if `class_weights` are set.
            exclusive: exactly one label of a row is true.
        """
        ...

    def serves(self, *, exclusive: bool) -> bool:
        """Whether it can train this kind of labels."""
        ...


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Softmax cross-entropy, for exclusive labels."""

    label_smoothing: float = 0.0

    @override
    def __call__(
        self, logits: Tensor, targets: Tensor, weights: Tensor | None, *, exclusive: bool
    ) -> Tensor:
        return cross_entropy(logits, targets, weights, label_smoothing=self.label_smoothing)

    def serves(self, *, exclusive: bool) -> bool:
        """Only exclusive labels."""
        return exclusive


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """Sigmoid cross-entropy of each label on its own."""

    label_smoothing: float = 0.0

    @override
    def __call__(
        self, logits: Tensor, targets: Tensor, weights: Tensor | None, *, exclusive: bool
    ) -> Tensor:
        return binary_cross_entropy(logits, targets, weights, label_smoothing=self.label_smoothing)

    def serves(self, *, exclusive: bool) -> bool:
        """Only labels that do not exclude each other."""
        return not exclusive


@dataclass(frozen=True)
class Focal(Loss):
    """Focal loss, for either kind: easy examples count less."""

    gamma: float = 2.0

    @override
    def __call__(
        self, logits: Tensor, targets: Tensor, weights: Tensor | None, *, exclusive: bool
    ) -> Tensor:
        loss = focal_cross_entropy if exclusive else focal_binary_cross_entropy
        return loss(logits, targets, weights, gamma=self.gamma)

    def serves(self, *, exclusive: bool) -> bool:
        """Both kinds of labels."""
        return True


def build_cross_entropy(*, label_smoothing: float = 0.0) -> Loss:
    """Softmax cross-entropy, for exclusive labels."""
    return CrossEntropy(_check_smoothing(label_smoothing))


def build_binary_cross_entropy(*, label_smoothing: float = 0.0) -> Loss:
    """Sigmoid cross-entropy of each label on its own."""
    return BinaryCrossEntropy(_check_smoothing(label_smoothing))


def build_focal(*, gamma: float = 2.0) -> Loss:
    """Focal loss (Lin et al. 2017): easy examples count less, the more so the larger gamma."""
    if gamma < 0:
        raise ValueError(f"gamma must be >= 0, got {gamma}")
    return Focal(gamma)


def _check_smoothing(label_smoothing: float) -> float:
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(
            f"label_smoothing must be at least 0 and less than 1, got {label_smoothing}"
        )
    return label_smoothing
