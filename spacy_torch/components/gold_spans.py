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
MISALIGNED_REJECTED = "misaligned rejected spans"
STRANGE_REJECTED = "rejected spans with other labels"
CONTRADICTED = "rejected spans that are there"
# In the `attrs` of a group in `reference.spans`: False if it does not hold all spans.
COMPLETE = "complete"
STEPS = {
    MISALIGNED: "they do not begin and end with tokens of the prediction; look at the tokenizer",
    NOT_SUGGESTED: "they cannot be found either; let the suggester give longer spans, or more",
    STRANGE: ADD_LABEL,
    MISALIGNED_REJECTED: "they do not begin and end with tokens of the prediction; look at the "
    "tokenizer",
    STRANGE_REJECTED: "the component was not initialized with the label, and never finds it; look "
    "for a misspelt label",
    CONTRADICTED: "the same reference has them among its spans, and as such they are learned; "
    "correct one of the two",
}


@dataclass(frozen=True)
class GoldSpans:
    """The gold spans of a batch in the tokens of the predictions, one row each.

    Attributes:
        doc_ids, starts, ends: where each is.
        columns: the column of its label, -1 for a label that is none of the component's.
        true: whether the span has the label; false where it is known not to have it.
        known: for each document, whether anything is known of its spans.
        complete: whether all of its gold spans are known.
        texts: of each span, for messages.
    """

    doc_ids: Places
    starts: Places
    ends: Places
    columns: Places
    true: NDArray[numpy.bool_]
    known: NDArray[numpy.bool_]
    complete: NDArray[numpy.bool_]
    texts: list[str]

    @staticmethod
    def read(
        examples: Sequence[Example],
        key: str,
        columns: Mapping[str, int],
        *,
        rejected_key: str | None = None,
        skip: Skip = ignore,
    ) -> GoldSpans:
        """Read `reference.spans[key]`, and `reference.spans[rejected_key]`.

        A reference without either is unknown. One that has the first is complete: what is not
        in it is no span, unless the group's `attrs` say `{"complete": False}`. Then, and where
        there is only the second, all other spans are unknown. What cannot be learned is left
        out, and `skip` is told of it.
        """
        rows: list[tuple[int, int, int, int, int]] = []
        texts: list[str] = []
        known = numpy.zeros(len(examples), dtype=bool)
        complete = numpy.zeros(len(examples), dtype=bool)
        for number, example in enumerate(examples):
            groups = example.reference.spans
            found: set[tuple[int, int, str]] = set()
            if key in groups:
                known[number] = True
                complete[number] = groups[key].attrs.get(COMPLETE, True)
                for gold, start, end in _align(example, groups[key]):
                    if end <= start:
                        _tell(skip, MISALIGNED, 1, gold.text)
                        continue
                    column = columns.get(gold.label_, -1)
                    if column < 0:
                        _tell(skip, STRANGE, 1, f"{gold.text} ({gold.label_})")
                    found.add((start, end, gold.label_))
                    rows.append((number, start, end, column, 1))
                    texts.append(gold.text)
            if rejected_key is None or rejected_key not in groups:
                continue
            known[number] = True
            for gold, start, end in _align(example, groups[rejected_key]):
                value = f"{gold.text} ({gold.label_})"
                if end <= start:
                    _tell(skip, MISALIGNED_REJECTED, 1, value)
                elif (start, end, gold.label_) in found:
                    _tell(skip, CONTRADICTED, 1, value)
                elif gold.label_ not in columns:
                    _tell(skip, STRANGE_REJECTED, 1, value)
                else:
                    rows.append((number, start, end, columns[gold.label_], 0))
                    texts.append(gold.text)
        table = numpy.array(rows, dtype=numpy.int64).reshape(-1, 5).T
        return GoldSpans(
            *table[:4], true=table[4] == 1, known=known, complete=complete, texts=texts
        )

    def find(self, spans: Suggestions, *, skip: Skip) -> Places:
        """The row of each gold span among these; `skip` is told of true ones that have none."""
        rows = spans.find(self.doc_ids, self.starts, self.ends)
        missing = numpy.flatnonzero((rows < 0) & self.true)
        if len(missing):
            _tell(skip, NOT_SUGGESTED, len(missing), self.texts[missing[0]])
        return rows

    def targets(self, spans: Suggestions, rows: Places, *, n_labels: int) -> Targets:
        """1 for the labels of gold spans, 0 for others, NaN where it is not known.

        Args:
            rows: of the gold spans among `spans`; see `find`.
        """
        targets = numpy.full((len(spans), n_labels), numpy.nan, dtype=numpy.float32)
        targets[self.complete[spans.doc_ids]] = 0.0
        found = (rows >= 0) & (self.columns >= 0)
        for is_true in (False, True):
            told = found & (self.true == is_true)
            targets[rows[told], self.columns[told]] = float(is_true)
        return targets

    def wanted(self, spans: Suggestions, rows: Places, *, n_labels: int) -> Targets:
        """1 for gold spans, whatever their label, 0 for what has no label, NaN if not known."""
        targets = self.targets(spans, rows, n_labels=n_labels)
        # The largest: NaN where one is not known, unless there is a 1.
        wanted = targets.max(axis=1, initial=0.0, keepdims=True)
        wanted[(targets == 1.0).any(axis=1)] = 1.0
        wanted[rows[(rows >= 0) & self.true]] = 1.0
        return wanted

    def exclusive_targets(self, spans: Suggestions, rows: Places, *, n_labels: int) -> Targets:
        """The same as `targets`, with a first column for having no label at all.

        A span whose only label is none of the component's is unknown. Of one that does not
        have a label, the others and none stay open.
        """
        targets = self.targets(spans, rows, n_labels=n_labels)
        is_settled = (targets == 1.0).any(axis=1)
        targets[is_settled] = numpy.nan_to_num(targets[is_settled], nan=0.0)
        none = 1.0 - targets.max(axis=1, initial=0.0)  # NaN stays
        targets = numpy.concatenate([none[:, None], targets], axis=1)
        foreign = rows[(rows >= 0) & self.true & (self.columns < 0)]
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
