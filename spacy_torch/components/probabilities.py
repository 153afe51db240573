"""How sure a component is, in the one form that all components answer in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray
from spacy.tokens import Doc


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


def list_docs(docs: Iterable[Doc], *, name: str) -> list[Doc]:
    """The documents to be asked about, as a list.

    Args:
        name: the component's.

    Raises:
        TypeError: it is a single document or a text, or one of them is no `Doc`.
    """
    step = 'pass a list of Docs, such as [nlp.make_doc("...")], or of what nlp("...") gives'
    if isinstance(docs, (Doc, str)) or not isinstance(docs, Iterable):
        what = "a single Doc" if isinstance(docs, Doc) else repr(docs)
        raise TypeError(
            f"{name!r}: probabilities() takes several documents, got {what:.100}: {step}"
        )
    found = list(docs)
    for number, doc in enumerate(found):
        if not isinstance(doc, Doc):
            raise TypeError(
                f"{name!r}: probabilities() takes Docs, but number {number} is {doc!r:.100}: {step}"
            )
    return found
