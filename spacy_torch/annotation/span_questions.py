"""Questions about spans: whether one is right, or which ones there are in a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

from spacy_torch.annotation.mark_questions import MarkQuestions
from spacy_torch.annotation.questions import Question, spell, with_question
from spacy_torch.annotation.tasks import Task, show
from spacy_torch.annotation.verdicts import Verdicts, merge_verdicts

REJECTED = "rejected"


class Mark(NamedTuple):
    """A span of a text, in characters."""

    start: int
    end: int
    label: str


class SpanQuestions(MarkQuestions):
    """Is this a span of this label? And, answered by hand: which spans are there?

    For components that annotate `doc.ents` or a group of `doc.spans`. Of a text of which only
    single spans were accepted or rejected, everything else stays unknown. If the component has
    no key for rejected spans (`incorrect_spans_key`), it gets "rejected".

    Args:
        labels: ask about these only; None for all of the component's.
        floor: spans that are less probable are not asked about.
        limit: the most questions about one text, the likeliest spans.
    """

    def __init__(
        self,
        nlp: Language,
        name: str,
        *,
        labels: Sequence[str] | None = None,
        floor: float = 0.01,
        limit: int = 8,
    ) -> None:
        super().__init__(nlp, name, labels=labels, floor=floor, limit=limit)
        self.is_flat = "doc.ents" in nlp.get_pipe_meta(name).assigns
        self.view_id = "ner" if self.is_flat else "spans"
        cfg = self.component.cfg
        cfg["incorrect_spans_key"] = cfg.get("incorrect_spans_key") or REJECTED

    def read_marks(self, task: Task) -> list[Mark]:
        """The spans of a task."""
        return read_marks(task)

    def ask(
        self, sources: Sequence[Task], docs: Sequence[Doc], random: np.random.Generator
    ) -> list[Question]:
        """A question for each span and label that is probable enough."""
        questions: list[Question] = []
        for place, found in enumerate(self._find(docs, random)):
            for span, label, score in found:
                question = {"spans": [_to_json(span, label)], "label": label}
                task = with_question(sources[place], question, score=score)
                task["_view_id"] = self.view_id
                expected = "accept" if score >= 0.5 else "reject"
                questions.append(Question(task, place, np.array([1 - score, score]), expected))
        return questions

    def is_answered(self, task: Task, answers: Sequence[Task]) -> bool:
        """Whether a span, or one that it cannot be there beside, was decided on already."""
        (mark,) = read_marks(task)
        if any(read_marks(answer) == [mark] for answer in answers):  # also an ignored one
            return True
        verdicts = self._merge(answers)
        if verdicts is None:
            return False
        return verdicts.complete or any(self._clash(mark, other) for other in verdicts.accepted)

    def check(self, task: Task) -> None:
        """Raise a `ValueError` for unknown labels, and spans that are not within the text."""
        if task["answer"] == "ignore":
            return
        length = len(task["text"])
        for mark in read_marks(task):
            self.check_label(mark.label, task)
            is_within = 0 <= mark.start < mark.end <= length
            if not is_within or not task["text"][mark.start : mark.end].strip():
                raise ValueError(
                    f"the answer {show(task)} has a span from {mark.start} to {mark.end}, but a "
                    f"span must be text within the {length} characters: correct 'start' and 'end'"
                )

    def read(self, tasks: Sequence[Task]) -> Example | None:
        """The spans that are known to be there or not to be there; None if none is."""
        verdicts = self._merge(tasks)
        if verdicts is None:
            return None
        doc = self.make_doc(tasks[0])
        marks = [*verdicts.accepted, *verdicts.rejected]
        reference = cut_at(doc, {place for mark in marks for place in (mark.start, mark.end)})
        accepted = [_find_span(reference, mark) for mark in verdicts.accepted]
        if self.is_flat:
            default = "outside" if verdicts.complete else "missing"
            reference.set_ents(accepted, default=default)
        else:
            reference.spans[self.component.key] = SpanGroup(
                reference, spans=accepted, attrs={"complete": verdicts.complete}
            )
        reference.spans[self.component.cfg["incorrect_spans_key"]] = [
            _find_span(reference, mark) for mark in verdicts.rejected
        ]
        return Example(doc, reference)

    def _find(
        self, docs: Sequence[Doc], random: np.random.Generator
    ) -> list[list[tuple[Span, str, float]]]:
        """The likeliest spans of each text, with label and probability."""
        options: dict[str, Any] = {"floor": self.floor} if self.is_flat else {}
        found: list[list[tuple[Span, str, float]]] = []
        for one in self.component.probabilities(docs, **options):
            values = one.values.astype(np.float64)
            wanted = np.array([not self.labels or label in self.labels for label in one.labels])
            spans, columns = np.nonzero((values >= self.floor) & wanted)
            scores = values[spans, columns]
            # Among equals chance decides: a new model finds all spans alike.
            order = np.lexsort((random.random(len(scores)), -scores.round(4)))[: self.limit]
            found.append(
                [
                    (one.candidates[spans[cell]], one.labels[columns[cell]], float(scores[cell]))
                    for cell in order
                ]
            )
        return found

    def _merge(self, tasks: Sequence[Task]) -> Verdicts[Mark] | None:
        return merge_verdicts(tasks, read_marks, clash=self._clash)

    def _clash(self, one: Mark, other: Mark) -> bool:
        if self.is_flat:
            return one.start < other.end and other.start < one.end
        return one == other


class ManualSpanQuestions(SpanQuestions):
    """Which spans are there? The annotator corrects those that the component finds."""

    def __init__(self, nlp: Language, name: str, *, labels: Sequence[str] | None = None) -> None:
        super().__init__(nlp, name, labels=labels, floor=0.05, limit=1000)
        self.view_id = "ner_manual" if self.is_flat else "spans_manual"

    def ask(
        self, sources: Sequence[Task], docs: Sequence[Doc], random: np.random.Generator
    ) -> list[Question]:
        """One question per text, as open as the least sure of its spans."""
        questions: list[Question] = []
        for place, (doc, found) in enumerate(zip(docs, self._find(docs, random), strict=True)):
            marks: dict[Mark, dict[str, Any]] = {}
            for span, label, score in found:  # the likeliest first
                mark = Mark(span.start_char, span.end_char, label)
                if score >= 0.5 and not any(self._clash(mark, other) for other in marks):
                    marks[mark] = _to_json(span, label)
            scores = [score for _, _, score in found]
            least_sure = min(scores, key=lambda score: abs(score - 0.5), default=0.0)
            # The same question whatever the component finds in the text.
            task = with_question(sources[place], {"spans": []}, score=least_sure)
            task["spans"] = [marks[mark] for mark in sorted(marks)]
            task["tokens"] = [
                {
                    "text": token.text,
                    "start": token.idx,
                    "end": token.idx + len(token),
                    "id": token.i,
                    "ws": bool(token.whitespace_),
                }
                for token in doc
            ]
            task["_view_id"] = self.view_id
            answers = np.array([1 - least_sure, least_sure])
            questions.append(Question(task, place, answers, spell(list(marks))))
        return questions

    def is_answered(self, task: Task, answers: Sequence[Task]) -> bool:
        """Whether the spans of a text were marked already."""
        return self.is_settled(answers)


def read_marks(task: Task) -> list[Mark]:
    """The spans of a task.

    Raises:
        ValueError: one has no place, or no label.
    """
    marks: list[Mark] = []
    for span in task.get("spans") or []:
        label = span.get("label") or task.get("label")
        numbers = (span.get("start"), span.get("end"))
        if not all(isinstance(number, int) for number in numbers) or not isinstance(label, str):
            raise ValueError(
                f"the answer {show(task)}: a span must have 'start' and 'end' in characters and a "
                f"'label', got {span!r:.100}"
            )
        marks.append(Mark(*numbers, label))
    return marks


def cut_at(doc: Doc, places: set[int]) -> Doc:
    """A Doc of the same text without annotations, in which a token ends at each of these places.

    So what an annotator has marked can be said, whether or not it fits the tokens: the
    component that learns from it compares both, and counts what it cannot learn.
    """
    words: list[str] = []
    spaces: list[bool] = []
    for token in doc:
        cuts = sorted(place - token.idx for place in places if 0 < place - token.idx < len(token))
        ends = [*cuts, len(token)]
        for start, end in zip([0, *cuts], ends, strict=True):
            words.append(token.text[start:end])
            spaces.append(end == len(token) and bool(token.whitespace_))
    return Doc(doc.vocab, words=words, spaces=spaces)


def _find_span(doc: Doc, mark: Mark) -> Span:
    # The space between two tokens is in none: a span does not begin or end with one.
    text = doc.text[mark.start : mark.end]
    start = mark.start + len(text) - len(text.lstrip(" "))
    span = doc.char_span(
        start, start + len(text.strip(" ")), label=mark.label, alignment_mode="expand"
    )
    assert span is not None  # the tokens were cut to fit, and `check` saw to the rest
    return span


def _to_json(span: Span, label: str) -> dict[str, Any]:
    return {
        "start": span.start_char,
        "end": span.end_char,
        "token_start": span.start,
        "token_end": span.end - 1,
        "label": label,
        "text": span.text,
    }
