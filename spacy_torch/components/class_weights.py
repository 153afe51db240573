"""The weights of a classifier's labels in its loss."""

from __future__ import annotations

from math import inf
from typing import Literal

import numpy
from numpy.typing import NDArray

ClassWeights = Literal["balanced"] | dict[str, float]


def check_class_weights(name: str, weights: ClassWeights | None) -> None:
    """Raise a `ValueError` for weights that the loss cannot be multiplied with."""
    if not isinstance(weights, dict):
        return
    wrong = {label: weight for label, weight in weights.items() if not 0 < weight < inf}
    if wrong:
        raise ValueError(
            f"{name!r}: a class weight must be a finite number above 0, got class_weights = "
            f"{wrong}; leave out the labels that need none, they weigh 1"
        )


def balance_classes(targets: NDArray[numpy.float32], *, exclusive: bool) -> list[float]:
    """One weight per label that makes up for how often it is true.

    Exclusive labels weigh the same in sum, and an example 1 on average. Others have a weight
    that makes the true cases of a label count as much as its false ones. A label that is
    never true weighs 1.

    Args:
        targets: 1, 0, and NaN where unknown, shape (example, label).
        exclusive: exactly one label of an example is true.
    """
    true, false = (targets == 1).sum(0), (targets == 0).sum(0)
    if exclusive:
        weights = true.sum() / (max((true > 0).sum(), 1) * numpy.maximum(true, 1))
    else:
        weights = numpy.maximum(false, 1) / numpy.maximum(true, 1)
    return numpy.where(true > 0, weights, 1.0).tolist()
