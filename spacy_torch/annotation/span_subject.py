"""A simulation about entities or other spans of texts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from typing_extensions import override

from spacy_torch.annotation.classifier_pipeline import initialize_upstream
from spacy_torch.annotation.mark_subject import FLOOR, MarkSubject, measure_marks_calibration
from spacy_torch.annotation.span_questions import Mark, read_marks
from spacy_torch.annotation.subject import Measured, Shown, Truth
from spacy_torch.annotation.tasks import Task, show
from spacy_torch.annotation.verdicts import is_whole


class Found(NamedTuple):
    """What was found in a text.

    Attributes:
        marks: the spans that the component annotates.
        likely: the probability of each span that is likely enough, by the span.
    """

    marks: frozenset[Mark]
    likely: dict[Mark, float]


class SpanSubject(MarkSubject):
    """Spans of texts, as `doc.ents` or in a group of `doc.spans`."""

    name = "spans"
    kinds = {
        "binary": "whether a span has a label, yes or no; texts of the first batch by hand",
        "manual": "which spans there are",
    }

    @override
    def initialize(
        self,
        nlp: Language,
        name: str,
        *,
        labels: Sequence[str],
        docs: Sequence[Doc],
        trained: Collection[str],
    ) -> None:
        examples = [Example(doc, doc) for doc in docs]
        initialize_upstream(nlp, name, examples, trained=trained)
        component: Any = nlp.get_pipe(name)
        component.initialize(lambda: examples, nlp=nlp, labels=list(labels))

    @override
    def answer(
        self, task: Task, true: Truth, *, is_wrong: bool, random: np.random.Generator
    ) -> Task:
        if is_whole(task):
            marks = sorted(true)
            if is_wrong and marks:
                marks.pop(int(random.integers(len(marks))))  # overlooked
            return {**task, "spans": [mark._asdict() for mark in marks], "answer": "accept"}
        marks = read_marks(task)
        if len(marks) != 1:
            raise ValueError(f"the question about {show(task)} is not about one span")
        is_true = (marks[0] in true) != is_wrong
        return {**task, "answer": "accept" if is_true else "reject"}

    @override
    def predict(self, component: Any, docs: Sequence[Doc]) -> list[Found]:
        copies = [doc.copy() for doc in docs]  # annotated, and the documents come again
        likely = [
            {
                _to_mark(one.candidates[row], one.labels[column]): float(one.values[row, column])
                for row, column in zip(*np.nonzero(one.values >= FLOOR), strict=True)
            }
            for one in component.probabilities(copies)
        ]
        annotated = list(component.pipe(copies))
        return [
            Found(read_annotated(doc, getattr(component, "key", None)), one)
            for doc, one in zip(annotated, likely, strict=True)
        ]

    @override
    def measure(
        self, found: Sequence[Any], true: Sequence[Truth], *, labels: Sequence[str], exclusive: bool
    ) -> Measured:
        texts: list[Found] = [one for batch in found for one in batch]
        n_right = sum(len(one.marks & truth) for one, truth in zip(texts, true, strict=True))
        n_both = sum(len(one.marks) for one in texts) + sum(len(truth) for truth in true)
        pairs = [
            (score, float(mark in truth))
            for one, truth in zip(texts, true, strict=True)
            for mark, score in one.likely.items()
        ]
        score = 2 * n_right / n_both if n_both else 1.0
        return Measured(score, measure_marks_calibration(pairs))

    @override
    def metric(self, *, exclusive: bool) -> str:
        return "F of spans"

    @override
    def show(self, task: Task, true: Truth) -> Shown:
        text, marks = task["text"], read_marks(task)
        truth = spell_marks(text, true)
        if is_whole(task):
            is_right = frozenset(marks) == true
            return Shown("which spans?", spell_marks(text, marks), truth, is_right)
        is_right = task["answer"] == ("accept" if marks[0] in true else "reject")
        return Shown(f"{spell_marks(text, marks)}?", task["answer"], truth, is_right)


def read_annotated(doc: Doc, key: str | None) -> frozenset[Mark]:
    """The entities of a document, or the spans of one of its groups."""
    spans: Iterable[Span] = doc.ents if key is None else doc.spans.get(key, ())
    return frozenset(_to_mark(span, span.label_) for span in spans)


def spell_marks(text: str, marks: Iterable[Mark]) -> str:
    """Spans with their labels, in words."""
    return ", ".join(f"{text[m.start : m.end]} [{m.label}]" for m in sorted(marks)) or "none"


def _to_mark(span: Span, label: str) -> Mark:
    return Mark(span.start_char, span.end_char, label)
