"""How sure a component is, in the one form that all components answer in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray


@dataclass(frozen=True)
class Probabilities:
    """What a component thinks of one document: a row per candidate, a column per label.

    Attributes:
        candidates: what each row is about. The `Doc` for a classifier of texts, a `Token`
            for a tagger, a `Span` for entities and span categories, a pair `(token, head)`
            for a parser, a pair of spans for relations.
        labels: what the columns are about.
        values: float32, shape (candidate, label), each between 0 and 1.
    """

    candidates: Sequence[Any]
    labels: tuple[str, ...]
    values: NDArray[numpy.float32]

    def __post_init__(self) -> None:
        expected = (len(self.candidates), len(self.labels))
        if self.values.shape != expected:
            raise ValueError(
                "values must have a row per candidate and a column per label, expected the "
                f"shape {expected}, got {self.values.shape}"
            )

    def __iter__(self) -> Iterator[tuple[Any, dict[str, float]]]:
        """Each candidate with the probability of each label."""
        for candidate, row in zip(self.candidates, self.values.tolist(), strict=True):
            yield candidate, dict(zip(self.labels, row, strict=True))
