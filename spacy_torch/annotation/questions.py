"""Questions about documents: what a component would like to know, and what an answer says."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_torch.annotation.read_probabilities import read_probabilities
from spacy_torch.annotation.strategies import Floats
from spacy_torch.annotation.tasks import Task, set_hashes, show
from spacy_torch.annotation.upstream import Upstream
from spacy_torch.features.image_docs import make_image_doc
from spacy_torch.features.picture import Picture


@dataclass(frozen=True)
class Question:
    """Something that could be asked.

    Attributes:
        task: what the annotator is shown, with hashes.
        place: of the document in the batch that was asked about.
        probabilities: of what may be true: (no, yes), or one for each label where exactly one
            applies.
        expected: what the model would answer itself: accept or reject, the id of an option, or, as
            `spell` writes them, the options or marks that it would leave.
    """

    task: Task
    place: int
    probabilities: Floats
    expected: str


class Questions(ABC):
    """One way to ask about the annotations of one component, and to read the answers.

    Attributes:
        view_id: Prodigy's interface for such a task.
        upstream: what the component gets from those before it.
    """

    view_id: str

    def __init__(self, nlp: Language, name: str) -> None:
        self.nlp = nlp
        self.name = name
        self.upstream = Upstream(nlp, name)

    @property
    def component(self) -> Any:
        """The component that the questions are for."""
        return self.nlp.get_pipe(self.name)

    @property
    def is_exclusive(self) -> bool:
        """Whether exactly one of the component's labels applies."""
        return bool(getattr(self.component, "exclusive", False))

    @abstractmethod
    def ask(
        self, sources: Sequence[Task], docs: Sequence[Doc], random: np.random.Generator
    ) -> list[Question]:
        """All questions about documents of `make_docs`, and how sure the component is of each."""

    @abstractmethod
    def check(self, task: Task) -> None:
        """Raise a `ValueError` for an answer that cannot be learned from."""

    @abstractmethod
    def read(self, tasks: Sequence[Task]) -> Example | None:
        """What the answers about one input say together; None if they say nothing.

        Answers stand in the order in which they came: of two that contradict each other
        the later one counts.
        """

    def ask_open(
        self,
        sources: Sequence[Task],
        docs: Sequence[Doc],
        random: np.random.Generator,
        answers: Sequence[Sequence[Task]],
    ) -> list[Question]:
        """Those questions that the answers so far, given for each document, leave open."""
        return [
            question
            for question in self.ask(sources, docs, random)
            if not self.is_answered(question.task, answers[question.place])
        ]

    def is_answered(self, task: Task, answers: Sequence[Task]) -> bool:
        """Whether the answers about an input say already what a question would ask."""
        return any(answer["_task_hash"] == task["_task_hash"] for answer in answers)

    def is_settled(self, answers: Sequence[Task]) -> bool:
        """Whether the answers about an input leave nothing to ask."""
        if any(task["answer"] == "ignore" for task in answers):
            return True
        # A refused yes-or-no question leaves room for others about the same input.
        return self.is_exclusive and any(task["answer"] == "accept" for task in answers)

    def agrees(self, task: Task, expected: str) -> bool:
        """Whether an answer is what the model would have answered; see `Question.expected`."""
        if "options" not in task:
            return task["answer"] == expected
        accepted = task.get("accept", [])
        is_same = expected in accepted if self.is_exclusive else expected == spell(accepted)
        return task["answer"] == "accept" and is_same

    def make_doc(self, task: Task) -> Doc:
        """The document that a task is about, as nothing has annotated it yet."""
        return make_doc(self.nlp, task)

    def make_docs(self, tasks: Sequence[Task]) -> list[Doc]:
        """The documents that tasks are about, as the component gets them when it predicts."""
        return self.upstream.annotate([self.make_doc(task) for task in tasks])

    def check_label(self, label: Any, task: Task) -> None:
        """Raise a `ValueError` for a label that the component does not have."""
        labels = self.component.labels
        if label not in labels:
            raise ValueError(
                f"the answer {show(task)} is about the label {label!r}, which {self.name!r} does "
                f"not have: its labels are {list(labels)}; correct the task, or call "
                f"add_label({label!r}) first"
            )


def spell(marks: Sequence[Any]) -> str:
    """The same text for the same options or marks, in any order."""
    return json.dumps(sorted(marks))


class YesNoQuestions(Questions):
    """Does this label apply to this document?"""

    view_id = "classification"

    def __init__(self, nlp: Language, name: str, *, labels: Sequence[str] | None = None) -> None:
        super().__init__(nlp, name)
        self.labels = tuple(labels) if labels is not None else None

    def ask(
        self, sources: Sequence[Task], docs: Sequence[Doc], random: np.random.Generator
    ) -> list[Question]:
        """One question per document and label; one per document if labels exclude each other.

        In that case the label is drawn by its probability: always to ask for the likeliest
        would never find out about labels that nobody has seen yet.
        """
        return self.ask_open(sources, docs, random, [()] * len(docs))

    def ask_open(
        self,
        sources: Sequence[Task],
        docs: Sequence[Doc],
        random: np.random.Generator,
        answers: Sequence[Sequence[Task]],
    ) -> list[Question]:
        """The same about labels of which nobody has answered whether they apply."""
        questions: list[Question] = []
        found = read_probabilities(self.component, docs)
        for place, (source, one) in enumerate(zip(sources, found, strict=True)):
            values = one.values[0].astype(np.float64)
            scores = dict(zip(one.labels, values.tolist(), strict=True))
            answered = {answer.get("label") for answer in answers[place]}
            wanted = [
                label
                for label in one.labels
                if label not in answered and (not self.labels or label in self.labels)
            ]
            if self.is_exclusive and wanted:
                chances = np.array([scores[label] for label in wanted]) + 1e-9
                wanted = [wanted[int(random.choice(len(wanted), p=chances / chances.sum()))]]
            for label in wanted:
                score = scores[label]
                task = with_question(source, {"label": label}, score=score)
                task["_view_id"] = self.view_id
                possible = values if self.is_exclusive else np.array([1 - score, score])
                expected = "accept" if score >= 0.5 else "reject"
                questions.append(Question(task, place, possible, expected))
        return questions

    def check(self, task: Task) -> None:
        """Raise a `ValueError` for a label that the component does not have."""
        if task["answer"] != "ignore":
            self.check_label(task.get("label"), task)

    def read(self, tasks: Sequence[Task]) -> Example | None:
        """Labels accepted and rejected; all others stay unknown."""
        cats: dict[str, float] = {}
        for task in tasks:
            if task["answer"] == "ignore":
                continue
            if task["answer"] == "accept" and self.is_exclusive:
                cats = {label: 0.0 for label, value in cats.items() if value == 0.0}
            cats[task["label"]] = float(task["answer"] == "accept")
        return _example(self.make_doc(tasks[0]), cats) if cats else None


class ChoiceQuestions(Questions):
    """Which of the labels applies, or which ones?"""

    view_id = "choice"

    def ask(
        self, sources: Sequence[Task], docs: Sequence[Doc], random: np.random.Generator
    ) -> list[Question]:
        """One question per document, with all labels as options."""
        questions: list[Question] = []
        found = read_probabilities(self.component, docs)
        for place, (source, one) in enumerate(zip(sources, found, strict=True)):
            options = [{"id": label, "text": label} for label in one.labels]
            values = one.values[0].astype(np.float64)
            task = with_question(source, {"options": options}, score=float(values.max()))
            task["_view_id"] = self.view_id
            expected = one.labels[int(values.argmax())]
            if not self.is_exclusive:
                expected = spell([one.labels[column] for column in np.flatnonzero(values >= 0.5)])
            questions.append(Question(task, place, values, expected))
        return questions

    def is_settled(self, answers: Sequence[Task]) -> bool:
        """One question is all there is to ask."""
        return bool(answers)

    def check(self, task: Task) -> None:
        """Raise a `ValueError` for unknown labels, or several where they exclude each other."""
        if task["answer"] == "ignore":
            return
        accepted = task.get("accept", [])
        for label in accepted:
            self.check_label(label, task)
        if self.is_exclusive and len(accepted) > 1:
            raise ValueError(
                f"the answer {show(task)} accepts {accepted}, but the labels of {self.name!r} "
                "exclude each other: choose one"
            )

    def read(self, tasks: Sequence[Task]) -> Example | None:
        """The options that were chosen; nothing is known of a task that was rejected."""
        answered = [task for task in tasks if task["answer"] == "accept"]
        if not answered:
            return None
        accepted = set(answered[-1].get("accept", []))
        if self.is_exclusive and not accepted:
            return None
        cats = {label: float(label in accepted) for label in self.component.labels}
        return _example(self.make_doc(tasks[0]), cats)


class SuggestedChoiceQuestions(ChoiceQuestions):
    """Which of the labels applies? Those that the component finds likely are chosen already."""

    def ask(
        self, sources: Sequence[Task], docs: Sequence[Doc], random: np.random.Generator
    ) -> list[Question]:
        """One question per document, with all labels as options, and with an answer."""
        questions = super().ask(sources, docs, random)
        for question in questions:
            names = [option["id"] for option in question.task["options"]]
            scores = dict(zip(names, question.probabilities.tolist(), strict=True))
            likely = [name for name in names if scores[name] >= 0.5]
            question.task["accept"] = [question.expected] if self.is_exclusive else likely
        return questions


def make_doc(nlp: Language, task: Task) -> Doc:
    """The document that a task is about: its text, or its picture."""
    if task.get("image"):
        return make_image_doc(nlp.vocab, Picture.from_source(task["image"]))
    return nlp.make_doc(task["text"])


def _example(doc: Doc, cats: dict[str, float]) -> Example:
    reference = doc.copy()
    reference.cats = cats
    return Example(doc, reference)


def with_question(source: Task, question: Task, *, score: float) -> Task:
    """A task that asks about what another one shows, with hashes and the score in its `meta`."""
    meta = {**source.get("meta", {}), "score": round(score, 4)}
    task = {**source, **question, "meta": meta}
    task.pop("_task_hash", None)
    return set_hashes(task)
