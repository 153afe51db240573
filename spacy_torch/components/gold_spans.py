"""What the references of a batch say of its spans, as targets for the suggested ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from spacy.tokens import Span
from spacy.training import Example

from spacy_torch.components.gold_tokens import are_tokenized_alike
from spacy_torch.components.skipped import ADD_LABEL, Skip, ignore
from spacy_torch.features.suggestions import Places, Suggestions

Targets = NDArray[numpy.float32]

MISALIGNED = "misaligned spans"
NOT_SUGGESTED = "spans that are not suggested"
STRANGE = "spans with other labels"
STEPS = {
    MISALIGNED: "they do not begin and end with tokens of the prediction; look at the tokenizer",
    NOT_SUGGESTED: "they cannot be found either; let the suggester give longer spans, or more",
    STRANGE: ADD_LABEL,
}


@dataclass(frozen=True)
class GoldSpans:
    """The gold spans of a batch in the tokens of the predictions, one row each.

    Attributes:
        doc_ids, starts, ends: where each is.
        columns: the column of its label, -1 for a label that is none of the component's.
        known: for each document, whether its gold spans are known at all.
        texts: of each span, for messages.
    """

    doc_ids: Places
    starts: Places
    ends: Places
    columns: Places
    known: NDArray[numpy.bool_]
    texts: list[str]

    @staticmethod
    def read(
        examples: Sequence[Example],
        key: str,
        columns: Mapping[str, int],
        *,
        skip: Skip = ignore,
    ) -> GoldSpans:
        """Read `reference.spans[key]`.

        A reference without the key is unknown. One that has it is complete: what is not in
        it is no span. Misaligned spans are left out, and `skip` is told of them.
        """
        rows: list[tuple[int, int, int, int]] = []
        texts: list[str] = []
        known = numpy.zeros(len(examples), dtype=bool)
        for number, example in enumerate(examples):
            if key not in example.reference.spans:
                continue
            known[number] = True
            for gold, start, end in _align(example, example.reference.spans[key]):
                if end <= start:
                    _tell(skip, MISALIGNED, 1, gold.text)
                    continue
                column = columns.get(gold.label_, -1)
                if column < 0:
                    _tell(skip, STRANGE, 1, f"{gold.text} ({gold.label_})")
                rows.append((number, start, end, column))
                texts.append(gold.text)
        table = numpy.array(rows, dtype=numpy.int64).reshape(-1, 4)
        return GoldSpans(*table.T, known=known, texts=texts)

    def find(self, spans: Suggestions, *, skip: Skip) -> Places:
        """The row of each gold span among these; `skip` is told of those that have none."""
        rows = spans.find(self.doc_ids, self.starts, self.ends)
        missing = numpy.flatnonzero(rows < 0)
        if len(missing):
            _tell(skip, NOT_SUGGESTED, len(missing), self.texts[missing[0]])
        return rows

    def targets(self, spans: Suggestions, rows: Places, *, n_labels: int) -> Targets:
        """1 for the labels of gold spans, 0 for others, NaN in documents that are not known.

        Args:
            rows: of the gold spans among `spans`; see `find`.
        """
        targets = numpy.zeros((len(spans), n_labels), dtype=numpy.float32)
        targets[~self.known[spans.doc_ids]] = numpy.nan
        found = (rows >= 0) & (self.columns >= 0)
        targets[rows[found], self.columns[found]] = 1.0
        return targets

    def wanted(self, spans: Suggestions, rows: Places) -> Targets:
        """1 for gold spans, whatever their label, 0 for others, NaN where not known."""
        targets = numpy.zeros((len(spans), 1), dtype=numpy.float32)
        targets[~self.known[spans.doc_ids]] = numpy.nan
        targets[rows[rows >= 0]] = 1.0
        return targets

    def exclusive_targets(self, spans: Suggestions, rows: Places, *, n_labels: int) -> Targets:
        """The same with a first column for having no label at all.

        A span whose only label is none of the component's is unknown.
        """
        targets = self.targets(spans, rows, n_labels=n_labels)
        none = 1.0 - targets.max(axis=1, initial=0.0)  # NaN stays
        targets = numpy.concatenate([none[:, None], targets], axis=1)
        foreign = rows[(rows >= 0) & (self.columns < 0)]
        foreign = foreign[targets[foreign, 0] == 1.0]
        targets[foreign] = numpy.nan
        return targets


def _tell(skip: Skip, reason: str, count: int, value: str) -> None:
    skip(reason, count, value=value, step=STEPS[reason])


def _align(example: Example, spans: Iterable[Span]) -> Iterator[tuple[Span, int, int]]:
    """Each gold span with its place in the prediction; (0, 0) where it has none."""
    if are_tokenized_alike(example):
        for span in spans:
            yield span, span.start, span.end
        return
    for span in spans:
        found = example.get_aligned_spans_y2x([span], allow_overlap=True)
        yield (span, found[0].start, found[0].end) if found else (span, 0, 0)
