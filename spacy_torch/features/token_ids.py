"""The integer attributes of a batch's tokens, in one array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import intify_attr
from spacy.tokens import Doc, Span

Ids = NDArray[np.uint64]


def attribute_ids(names: Sequence[str | int]) -> list[int]:
    """The numbers spaCy has for names such as "NORM" or "SHAPE".

    Raises:
        ValueError: a name that spaCy does not know, or no name at all.
    """
    if not names:
        raise ValueError("attrs must name at least one token attribute, got none")
    ids = [intify_attr(name) for name in names]
    for name, number in zip(names, ids, strict=True):
        if number is None:
            raise ValueError(
                f"attrs must be token attributes such as 'NORM' or 'SHAPE', got {name!r}"
            )
    return ids


def token_ids(docs: Sequence[Doc | Span], attrs: list[int]) -> Ids:
    """The attributes of all tokens of a batch, of shape (token, attr)."""
    if not docs:
        return np.zeros((0, len(attrs)), dtype=np.uint64)
    names: list[int | str] = [*attrs]
    # spaCy drops the second axis where there is one attribute, and has no ids of a span.
    arrays = [
        doc.doc.to_array(names)[doc.start : doc.end]
        if isinstance(doc, Span)
        else doc.to_array(names)
        for doc in docs
    ]
    return np.concatenate(arrays, dtype=np.uint64).reshape(-1, len(attrs))


def lengths_of(docs: Sequence[Doc | Span]) -> NDArray[np.int64]:
    """The number of tokens of each document."""
    return np.fromiter(map(len, docs), dtype=np.int64, count=len(docs))


def first_rows(docs: Sequence[Doc | Span]) -> NDArray[np.int64]:
    """The row of the first token of each document that has any."""
    lengths = lengths_of(docs)
    return (lengths.cumsum() - lengths)[lengths > 0]
