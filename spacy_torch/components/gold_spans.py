"""What the references of a batch say of its spans, as targets for the suggested ones."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray
from spacy.tokens import Span
from spacy.training import Example

from spacy_torch.components.gold_tokens import are_tokenized_alike
from spacy_torch.features.suggestions import Places, Suggestions

logger = logging.getLogger(__name__)

Targets = NDArray[numpy.float32]

MISALIGNED, NOT_SUGGESTED, NO_LABEL = "misaligned", "not suggested", "unknown label"
_EXPLANATIONS = {
    MISALIGNED: "does not begin and end where tokens of the prediction do: look at the tokenizer",
    NOT_SUGGESTED: "is not among the suggested spans and cannot be found: let the suggester give "
    "longer spans, or more of them",
    NO_LABEL: "has a label that the component does not know: call add_label()",
}


class SkippedSpans:
    """Counts the gold spans that could not be learned from, and logs the first of each kind.

    Args:
        quiet: log nothing, where the same spans have been counted before.

    Attributes:
        counts: how often each kind was met, counted anew in every update.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.counts: Counter[str] = Counter()

    def add(self, kind: str, text: str, *, name: str, count: int = 1) -> None:
        """Count some; `text` is the first of them, `name` the component's."""
        if not self.counts[kind] and not self.quiet:
            logger.warning(
                "%r skips the gold span %r in training: it %s. Others like it are only counted, "
                "in skipped_spans.",
                name,
                text,
                _EXPLANATIONS[kind],
            )
        self.counts[kind] += count


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
        skipped: SkippedSpans,
        name: str,
    ) -> GoldSpans:
        """Read `reference.spans[key]`.

        A reference without the key is unknown. One that has it is complete: what is not in
        it is no span. Misaligned spans are left out and counted in `skipped`.
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
                    skipped.add(MISALIGNED, gold.text, name=name)
                    continue
                column = columns.get(gold.label_, -1)
                if column < 0:
                    skipped.add(NO_LABEL, f"{gold.text} ({gold.label_})", name=name)
                rows.append((number, start, end, column))
                texts.append(gold.text)
        table = numpy.array(rows, dtype=numpy.int64).reshape(-1, 4)
        return GoldSpans(*table.T, known=known, texts=texts)

    def find(self, spans: Suggestions, *, skipped: SkippedSpans, name: str) -> Places:
        """The row of each gold span among these; those that have none are counted."""
        rows = spans.find(self.doc_ids, self.starts, self.ends)
        missing = numpy.flatnonzero(rows < 0)
        if len(missing):
            text = self.texts[missing[0]]
            skipped.add(NOT_SUGGESTED, text, name=name, count=len(missing))
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


def _align(example: Example, spans: Iterable[Span]) -> Iterator[tuple[Span, int, int]]:
    """Each gold span with its place in the prediction; (0, 0) where it has none."""
    if are_tokenized_alike(example):
        for span in spans:
            yield span, span.start, span.end
        return
    for span in spans:
        found = example.get_aligned_spans_y2x([span], allow_overlap=True)
        yield (span, found[0].start, found[0].end) if found else (span, 0, 0)
