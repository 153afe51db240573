"""The entities and spans of a reference, as those of the Doc that the pipeline made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

from spacy.attrs import ENT_ID, ENT_IOB, ENT_KB_ID, ENT_TYPE
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example
from spacy.util import filter_spans

_ENTITY_ATTRS = [ENT_IOB, ENT_TYPE, ENT_KB_ID, ENT_ID]


def align_span(example: Example, start: int, end: int, label: str = "") -> Span | None:
    """A span of the reference in the tokens of the predicted Doc.

    Returns:
        None where it does not begin and end with a token there.
    """
    span = example.reference[start:end]
    predicted = example.predicted
    if predicted.text == example.reference.text:
        return predicted.char_span(span.start_char, span.end_char, label=label)
    found = example.get_aligned_spans_y2x([span], allow_overlap=True)
    return Span(predicted, found[0].start, found[0].end, label=label) if found else None


def give_spans(example: Example) -> None:
    """Set the reference's entities and span groups on the predicted Doc, for good.

    What does not begin and end with a token there is left out. A reference that knows of no
    entities, or lacks a group, leaves those of the predicted Doc as they are.
    """
    predicted, reference = example.predicted, example.reference
    if reference.has_annotation("ENT_IOB"):
        predicted.ents = filter_spans(_align(example, reference.ents))
    for key in cast("Iterable[str]", reference.spans):
        predicted.spans[key] = _align(example, reference.spans[key])


@contextmanager
def gold_spans(examples: Sequence[Example]) -> Iterator[None]:
    """Let the predicted Docs have the reference's entities and span groups for a while.

    Those that a Doc had before come back afterwards, whatever happens in between.
    """
    with ExitStack() as stack:
        for example in examples:
            stack.callback(_restore, example.predicted, *_remember(example.predicted))
            give_spans(example)
        yield


def _align(example: Example, spans: Iterable[Span]) -> list[Span]:
    aligned = (align_span(example, span.start, span.end, span.label_) for span in spans)
    return [span for span in aligned if span is not None]


def _remember(doc: Doc) -> tuple[Any, dict[str, SpanGroup]]:
    # The groups themselves, with their attrs: giving others replaces them.
    return doc.to_array(_ENTITY_ATTRS), dict(doc.spans.items())


def _restore(doc: Doc, entities: Any, groups: dict[str, SpanGroup]) -> None:
    if len(doc):
        doc.from_array(_ENTITY_ATTRS, entities)
    for key in [key for key in doc.spans if key not in groups]:
        del doc.spans[key]
    for key, group in groups.items():
        doc.spans[key] = group
