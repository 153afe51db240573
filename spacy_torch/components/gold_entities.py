"""What the examples of a batch say of entities, as far as they say anything."""

from __future__ import annotations

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
)
from spacy_torch.components.gold_tokens import Columns, Ids, are_tokenized_alike, read_aligned
from spacy_torch.components.skipped import ADD_LABEL, Skip
from spacy_torch.features.token_ids import first_rows, token_ids

MISALIGNED = "misaligned entities"
STRANGE = "entities with other labels"
MISALIGNED_REJECTED = "misaligned rejected spans"
STRANGE_REJECTED = "rejected spans with other labels"
CONTRADICTED = "rejected spans that are entities"
STEPS = {
    MISALIGNED: "an entity of the reference does not fit the tokens of the pipeline, and what its "
    "tokens are stays open; look at the tokenizer",
    STRANGE: ADD_LABEL,
    MISALIGNED_REJECTED: "the span does not fit the tokens of the pipeline, or has none; look at "
    "the tokenizer",
    STRANGE_REJECTED: "the component was not initialized with the label, and never finds it; look "
    "for a misspelt label",
    CONTRADICTED: "the same reference has it as an entity, and as that it is learned; correct one "
    "of the two",
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
        skip: is told what cannot be learned, for one of the reasons in `STEPS`.
    """

    labels: Mapping[int, int]
    incorrect_spans_key: str | None
    skip: Skip

    def read(self, examples: Sequence[Example]) -> EntityTargets:
        """The truth of a batch."""
        docs = [example.predicted for example in examples]
        if not docs:
            return EntityTargets(*(numpy.zeros(s, dtype=numpy.int64) for s in (0, (0, 3))))
        alike = [are_tokenized_alike(example) for example in examples]
        values = numpy.concatenate(
            [
                self._read_alike(example) if is_alike else self._align(example)
                for example, is_alike in zip(examples, alike, strict=True)
            ]
        )
        encoded = encode_entities(
            values[:, 0], values[:, 1], firsts=first_rows(docs), labels=self.labels
        )
        strings = examples[0].reference.vocab.strings
        if len(encoded.strange):
            value = strings[int(encoded.strange[0])]
            self._tell(STRANGE, len(encoded.strange), value)
        rejected = list(self._find_rejected(examples, alike))
        return EntityTargets(
            encoded.tags, numpy.asarray(rejected, dtype=numpy.int64).reshape(-1, 3)
        )

    def _read_alike(self, example: Example) -> Ids:
        """`ENT_IOB` and `ENT_TYPE` of the tokens of an example split alike."""
        values = token_ids([example.reference], [ENT_IOB, ENT_TYPE])
        _fill_whitespace(values, example, is_open=values[:, 0] == MISSING_IOB)
        return values

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
        # White space in an entity that does not fit is not outside.
        is_open = values[:, 0] == MISSING_IOB
        for entity in entities:
            touched = example.alignment.y2x[entity.start : entity.end]
            if len(touched):
                is_open[int(touched.min()) : int(touched.max()) + 1] = False
        _fill_whitespace(values, example, is_open=is_open)
        if len(spans) < len(entities):
            self._tell(MISALIGNED, len(entities) - len(spans), _find_missing(entities, spans))
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
                given = spans
                if not is_alike:
                    spans = example.get_aligned_spans_y2x(spans, allow_overlap=True)
                    entities = example.get_aligned_spans_y2x(entities)
                spans = [span for span in spans if span.end > span.start]
                if len(spans) < len(given):
                    n_lost = len(given) - len(spans)
                    self._tell(MISALIGNED_REJECTED, n_lost, _find_missing(given, spans))
                true = {(entity.start, entity.end, entity.label) for entity in entities}
                for span in spans:
                    if (span.start, span.end, span.label) in true:
                        self._tell(CONTRADICTED, 1, f"{span.text} ({span.label_})")
                    elif span.label not in self.labels:
                        self._tell(STRANGE_REJECTED, 1, span.label_)
                    else:
                        yield first + span.start, first + span.end, self.labels[span.label]
            first += len(example.predicted)

    def _tell(self, reason: str, count: int, value: str) -> None:
        self.skip(reason, count, value=value, step=STEPS[reason])


def _find_missing(spans: Sequence[Span], aligned: Sequence[Span]) -> str:
    """The text of one of those spans that are not among the aligned ones."""
    texts = {span.text for span in aligned}
    return next((span.text for span in spans if span.text not in texts), spans[0].text)


def _fill_whitespace(values: Ids, example: Example, *, is_open: NDArray[numpy.bool_]) -> None:
    """White space of which nothing is said is outside, in a document with any annotation."""
    if is_open.any() and (values[:, 0] != MISSING_IOB).any():
        is_space = token_ids([example.predicted], [IS_SPACE])[:, 0] == 1
        values[is_open & is_space, 0] = OUTSIDE_IOB
