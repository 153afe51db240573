"""What the examples of a batch say of entities, as far as they say anything."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy
from numpy.typing import NDArray
from spacy.attrs import ENT_IOB, ENT_TYPE, IS_SPACE
from spacy.tokens import Span
from spacy.training import Example

from spacy_torch.components.entity_tags import (
    BEGIN_IOB,
    INSIDE_IOB,
    MISSING_IOB,
    OUTSIDE_IOB,
    encode_entities,
    find_firsts,
)
from spacy_torch.components.gold_tokens import Columns, Ids, are_tokenized_alike, read_aligned
from spacy_torch.features.token_ids import lengths_of, token_ids

logger = logging.getLogger(__name__)

SKIPPED = {
    "misaligned entities": "an entity of the reference does not fit the tokens of the pipeline; "
    "nothing is learned from its tokens",
    "entities with other labels": "an entity has a label that the component was not initialized "
    "with; nothing is learned from its tokens. Use add_label() to have it learned",
    "misaligned rejected spans": "a rejected span does not fit the tokens of the pipeline, or "
    "has none",
    "rejected spans that are entities": "a rejected span is an entity of the same reference; it "
    "is learned as an entity",
}


class EntityTargets(NamedTuple):
    """The truth of a batch.

    Attributes:
        tags: the tag of each token, or `UNKNOWN`.
        rejected: entities that are not there: rows of the first and behind the last token,
            number of the label; shape (span, 3).
    """

    tags: Columns
    rejected: NDArray[numpy.int64]


@dataclass(frozen=True)
class EntityReader:
    """Reads entities from references, and counts what it cannot use.

    Known are the tokens of an entity that is made of whole tokens of the pipeline, tokens
    annotated as outside or blocked, and white space in a document with any annotation. All
    others are unknown: those without annotation (`ENT_IOB` 0), and those of an entity that
    does not fit or that has another label.

    Args:
        labels: the number of each label, by its id.
        incorrect_spans_key: the group in `reference.spans` that holds rejected spans.
        skipped: counts how often each of `SKIPPED` was met. The first time it is also logged.
        name: the component's, for the log.
    """

    labels: Mapping[int, int]
    incorrect_spans_key: str | None
    skipped: Counter[str]
    name: str

    def read(self, examples: Sequence[Example]) -> EntityTargets:
        """The truth of a batch."""
        docs = [example.predicted for example in examples]
        if not docs:
            return EntityTargets(*(numpy.zeros(s, dtype=numpy.int64) for s in (0, (0, 3))))
        alike = [are_tokenized_alike(example) for example in examples]
        values = numpy.concatenate(
            [
                token_ids([example.reference], [ENT_IOB, ENT_TYPE])
                if is_alike
                else self._align(example)
                for example, is_alike in zip(examples, alike, strict=True)
            ]
        )
        lengths = lengths_of(docs)
        unknown = values[:, 0] == MISSING_IOB
        if unknown.any():
            starts = lengths.cumsum() - lengths
            filled = lengths > 0
            any_known = numpy.zeros(len(docs), dtype=bool)
            any_known[filled] = numpy.logical_or.reduceat(~unknown, starts[filled])
            is_space = token_ids(docs, [IS_SPACE])[:, 0] == 1
            outside = unknown & is_space & numpy.repeat(any_known, lengths)
            values[outside, 0] = OUTSIDE_IOB
        encoded = encode_entities(
            values[:, 0], values[:, 1], firsts=find_firsts(docs), labels=self.labels
        )
        self._skip("entities with other labels", len(encoded.strange))
        rejected = list(self._find_rejected(examples, alike))
        return EntityTargets(
            encoded.tags, numpy.asarray(rejected, dtype=numpy.int64).reshape(-1, 3)
        )

    def _align(self, example: Example) -> Ids:
        """`ENT_IOB` and `ENT_TYPE` of the predicted tokens of an example split differently."""
        values, known = read_aligned(example, [ENT_IOB, ENT_TYPE])
        is_outside = values[:, 0] == OUTSIDE_IOB
        is_blocked = (values[:, 0] == BEGIN_IOB) & (values[:, 1] == 0)
        values[~(known & (is_outside | is_blocked))] = 0
        entities = example.reference.ents
        spans = example.get_aligned_spans_y2x(entities)
        for span in spans:
            values[span.start : span.end] = (INSIDE_IOB, span.label)
            values[span.start, 0] = BEGIN_IOB
        self._skip("misaligned entities", len(entities) - len(spans))
        return values

    def _find_rejected(
        self, examples: Sequence[Example], alike: Sequence[bool]
    ) -> Iterator[tuple[int, int, int]]:
        if self.incorrect_spans_key is None:
            return
        first = 0
        for example, is_alike in zip(examples, alike, strict=True):
            reference = example.reference
            if self.incorrect_spans_key in reference.spans:
                spans = list(reference.spans[self.incorrect_spans_key])
                entities: list[Span] = list(reference.ents)
                n_spans = len(spans)
                if not is_alike:
                    spans = example.get_aligned_spans_y2x(spans, allow_overlap=True)
                    entities = example.get_aligned_spans_y2x(entities)
                spans = [span for span in spans if span.end > span.start]
                self._skip("misaligned rejected spans", n_spans - len(spans))
                true = {(entity.start, entity.end, entity.label) for entity in entities}
                for span in spans:
                    if (span.start, span.end, span.label) in true:
                        self._skip("rejected spans that are entities", 1)
                    elif span.label in self.labels:
                        yield first + span.start, first + span.end, self.labels[span.label]
            first += len(example.predicted)

    def _skip(self, kind: str, count: int) -> None:
        if not count:
            return
        if not self.skipped[kind]:
            logger.warning(
                "%r: %s. This is logged once; how often it happens is counted in .skipped",
                self.name,
                SKIPPED[kind],
            )
        self.skipped[kind] += count
