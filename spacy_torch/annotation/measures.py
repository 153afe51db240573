"""How good scores are, and what differences between a few seeds say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def measure_accuracy(scores: Floats, truth: Floats) -> float:
    """The share of rows whose highest score is that of the true label."""
    return float((scores.argmax(axis=1) == truth.argmax(axis=1)).mean())


def measure_average_precision(scores: Floats, truth: Floats) -> float:
    """The mean over labels of the average precision; labels that never apply are left out.

    Of equal scores the worst order counts, so that a model that says the same of all
    documents is not given a good order by chance.
    """
    found = [
        _average_precision(scores[:, label], truth[:, label])
        for label in range(truth.shape[1])
        if truth[:, label].any()
    ]
    return float(np.mean(found)) if found else 0.0


def measure_calibration_error(scores: Floats, truth: Floats, *, exclusive: bool) -> float:
    """The expected calibration error, in ten bins: how far confidence is from being right.

    Of exclusive labels the confidence in the most probable one counts, else in each label.
    """
    if exclusive:
        confidence = scores.max(axis=1)
        right = (scores.argmax(axis=1) == truth.argmax(axis=1)).astype(np.float64)
    else:
        confidence, right = scores.ravel(), truth.ravel()
    bins = np.clip((confidence * 10).astype(int), 0, 9)
    gaps = [abs((confidence - right)[bins == number].sum()) for number in range(10)]
    return float(sum(gaps) / max(len(confidence), 1))


@dataclass(frozen=True)
class Difference:
    """How much better one was than another, on the same seeds.

    Attributes:
        mean: over the seeds.
        low, high: of the mean, the 95 % interval by bootstrap.
        wins, ties, losses: of single seeds; closer than `tie` is a tie.
    """

    mean: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int

    @property
    def verdict(self) -> str:
        """What the interval says: better, worse, or no difference; of one seed it says nothing."""
        if self.wins + self.ties + self.losses < 2:
            return "no difference shown"
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no difference shown"


def compare(ours: Sequence[float], theirs: Sequence[float], *, tie: float = 0.005) -> Difference:
    """The paired differences of two results per seed.

    Raises:
        ValueError: there are not as many of one as of the other, or none.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"pairs are compared, got {len(ours)} results and {len(theirs)}")
    differences = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    low, high = bootstrap_interval(differences)
    return Difference(
        float(differences.mean()),
        low,
        high,
        int((differences > tie).sum()),
        int((abs(differences) <= tie).sum()),
        int((differences < -tie).sum()),
    )


def bootstrap_interval(values: Sequence[float] | Floats) -> tuple[float, float]:
    """The 95 % interval of the mean, from 10,000 resamples; a single value is its own."""
    array = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(0).integers(len(array), size=(10_000, len(array)))
    low, high = np.quantile(array[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def _average_precision(scores: Floats, truth: Floats) -> float:
    order = np.lexsort((truth, -scores))
    is_true = truth[order] > 0
    precision = np.cumsum(is_true) / np.arange(1, len(is_true) + 1)
    return float(precision[is_true].mean())
