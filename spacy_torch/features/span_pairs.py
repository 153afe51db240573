"""Which pairs of spans may be related, and the pairs of a batch as tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from spacy.tokens import Doc, Span

from spacy_torch.nn.relation_classifier import PairBatch

Pair = tuple[Span, Span]
# Any function of this kind will do, registered under @misc; it must give the same pairs in the
# same order whenever it is asked about the same Doc.
Candidates = Callable[[Doc], Sequence[Pair]]


@dataclass(frozen=True)
class EntityPairs:
    """The pairs of a Doc's entities or of one group of its spans, head and tail.

    Attributes:
        spans_key: the group in `doc.spans`; None for `doc.ents`. A Doc without the group
            has no pairs.
        max_distance: the largest number of tokens between the two; None for no limit. The
            time for a pair grows with the tokens between: a text of 5,000 tokens with an
            entity in ten has 10,000 pairs at most 100 tokens apart, and 250,000 in all.
        label_pairs: the labels that head and tail may have; None for any.
        same_sentence: leave out pairs from different sentences; sentence boundaries must
            be set by a component before.
        directed: each of two spans may be the head of the other. If false the head is the
            one that comes first, and a label must say the direction where there is one.
    """

    spans_key: str | None = None
    max_distance: int | None = 100
    label_pairs: frozenset[tuple[str, str]] | None = None
    same_sentence: bool = False
    directed: bool = True

    def __call__(self, doc: Doc) -> list[Pair]:
        """Give the pairs in the order of the text, by head and then by tail.

        Raises:
            ValueError: `same_sentence` is set and the Doc has no sentence boundaries.
        """
        found = doc.ents if self.spans_key is None else doc.spans.get(self.spans_key, ())
        spans = sorted(found, key=lambda span: (span.start, span.end))
        if len(spans) < 2:
            return []
        starts = numpy.array([span.start for span in spans])
        ends = numpy.array([span.end for span in spans])
        allowed = ~numpy.eye(len(spans), dtype=bool)  # head, tail
        if not self.directed:
            allowed = numpy.triu(allowed)
        if self.max_distance is not None:
            gaps = numpy.maximum(starts[:, None] - ends, starts - ends[:, None])
            allowed &= gaps <= self.max_distance
        if self.same_sentence:
            sentences = _sentence_numbers(doc)
            for number in (sentences[starts], sentences[ends - 1]):
                allowed &= number[:, None] == number
        pairs = [(spans[head], spans[tail]) for head, tail in numpy.argwhere(allowed).tolist()]
        if self.label_pairs is None:
            return pairs
        return [
            (head, tail) for head, tail in pairs if (head.label_, tail.label_) in self.label_pairs
        ]


def build_entity_pairs(
    *,
    spans_key: str | None = None,
    max_distance: int | None = 100,
    label_pairs: list[list[str]] | None = None,
    same_sentence: bool = False,
    directed: bool = True,
) -> Candidates:
    """Pairs of entities, or of the spans in one group, as candidates for a relation.

    Args:
        label_pairs: lists of two, the labels of head and tail; null for any.

    Raises:
        ValueError: `max_distance` is negative, or one of `label_pairs` is no pair.
    """
    if max_distance is not None and max_distance < 0:
        raise ValueError(f"max_distance must be >= 0, or null for no limit, got {max_distance}")
    for labels in label_pairs or []:
        if len(labels) != 2:
            raise ValueError(
                f"each of label_pairs must be the label of the head and that of the tail, got "
                f"{labels}"
            )
    return EntityPairs(
        spans_key=spans_key,
        max_distance=max_distance,
        label_pairs=(
            None if label_pairs is None else frozenset((head, tail) for head, tail in label_pairs)
        ),
        same_sentence=same_sentence,
        directed=directed,
    )


@dataclass(frozen=True)
class PairFeatures:
    """Documents to a batch of their tokens and of their candidate pairs.

    Attributes:
        featurize: documents -> the batch of the encoder.
        candidates: a document -> its pairs of spans.
    """

    featurize: Callable[..., Any]
    candidates: Candidates

    def __call__(self, docs: Sequence[Doc], *upstream: Any) -> PairBatch:
        """Featurize the tokens and find the pairs."""
        pairs = [self.candidates(doc) for doc in docs]
        lengths = [len(found) for found in pairs]
        places = [
            (head.start, head.end, tail.start, tail.end) for found in pairs for head, tail in found
        ]
        return PairBatch(
            tokens=self.featurize(docs, *upstream),
            spans=torch.tensor(places, dtype=torch.int64).reshape(-1, 4),
            lengths=torch.tensor(lengths, dtype=torch.int64),
        )


def _sentence_numbers(doc: Doc) -> Any:
    if not doc.has_annotation("SENT_START"):
        raise ValueError(
            "same_sentence = true needs sentence boundaries, but the Doc has none: put a "
            "component that sets them (sentencizer, senter, parser) before, and name it in "
            "[training] annotating_components, or set same_sentence = false"
        )
    starts = numpy.asarray(doc.to_array("SENT_START")) == 1
    return starts.cumsum()
