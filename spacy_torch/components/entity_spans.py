"""Entities between the rows of a batch and the documents they are in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray
from spacy.attrs import ENT_IOB
from spacy.tokens import Doc, Span, SpanGroup

from spacy_torch.components.entity_tags import BEGIN_IOB, INSIDE_IOB, MISSING_IOB
from spacy_torch.features.token_ids import lengths_of


class Entity(NamedTuple):
    """An entity that was found: its tokens, the number of its label, and how sure that is.

    Attributes:
        probability: NaN if nobody asked for it.
    """

    start: int
    end: int
    label: int
    probability: float


def split_rows(
    docs: Sequence[Doc], starts: NDArray[Any], ends: NDArray[Any]
) -> tuple[NDArray[numpy.int64], NDArray[Any], NDArray[Any]]:
    """For spans in rows of the batch: the number of the document, start and end in it."""
    first_rows = numpy.cumsum([0, *lengths_of(docs)])
    numbers = numpy.searchsorted(first_rows, starts, side="right") - 1
    # A document without tokens starts at the row of the next one, which is the later of both.
    return numbers, starts - first_rows[numbers], ends - first_rows[numbers]


def write_entities(
    doc: Doc, entities: Sequence[Entity], label_ids: Sequence[int]
) -> list[tuple[Span, float]]:
    """Add entities to those that a document has; all tokens without annotation become outside.

    Entities on tokens that have one already are left out: they are those that were kept.

    Returns:
        What was added, with its probability.
    """
    iobs = doc.to_array([ENT_IOB])
    is_set = (iobs == BEGIN_IOB) | (iobs == INSIDE_IOB)
    added = [
        (Span(doc, entity.start, entity.end, label=label_ids[entity.label]), entity.probability)
        for entity in entities
        if not is_set[entity.start]
    ]
    spans = [span for span, _ in added]
    if not is_set.any():
        doc.set_ents(spans)
        return added
    is_missing = iobs == MISSING_IOB
    for span in spans:
        is_missing[span.start : span.end] = False
    outside = [doc[place : place + 1] for place in numpy.flatnonzero(is_missing).tolist()]
    doc.set_ents(spans, outside=outside, default="unmodified")
    return added


def store_scores(doc: Doc, key: str, found: Sequence[tuple[Span, float]]) -> None:
    """Put spans into a span group, with their probabilities in `attrs["scores"]`."""
    scores = numpy.array([probability for _, probability in found], dtype="float32")
    spans = [span for span, _ in found]
    doc.spans[key] = SpanGroup(doc, name=key, spans=spans, attrs={"scores": scores})
