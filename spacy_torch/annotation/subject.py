"""What a simulation is about, such as classes or spans: how it is asked, answered and measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc

from spacy_torch.annotation.questions import Questions
from spacy_torch.annotation.tasks import Task

# What is true of an input: labels, or marks that have one.
Truth = frozenset[Any]


class Measured(NamedTuple):
    """How good predictions are.

    Attributes:
        score: 1 at best.
        calibration_error: how far confidence is from being right, 0 at best.
    """

    score: float
    calibration_error: float


class Shown(NamedTuple):
    """A question and its answer, for a reader.

    Attributes:
        question, answer, truth: in words.
        is_right: whether the annotator gave the answer that is true.
    """

    question: str
    answer: str
    truth: str
    is_right: bool


class Subject(ABC):
    """One kind of annotations, as far as a simulation has to know it.

    Attributes:
        name: as `GoldData.subject` says it.
        kinds: what the annotator is asked, in words, by the kind of questions; the usual kind
            first.
    """

    name: str
    kinds: Mapping[str, str]

    @abstractmethod
    def find_component(self, nlp: Language, name: str | None = None) -> str:
        """The name of the first component that learns this, or the given one.

        Raises:
            ValueError: there is none.
        """

    @abstractmethod
    def make_questions(self, nlp: Language, name: str, kind: str) -> Questions:
        """The questions of a session."""

    def make_first_questions(self, questions: Questions, kind: str) -> Questions:
        """Those about a model that knows nothing yet."""
        return questions

    def ask_first(
        self,
        questions: Questions,
        pool: Sequence[tuple[Task, Truth]],
        *,
        kind: str,
        number: int,
        random: np.random.Generator,
    ) -> list[Task]:
        """The first batch: about the same inputs for all sessions with the same random numbers.

        Args:
            questions: of the session.
            number: the most questions.
        """
        places = random.permutation(len(pool))[:number].tolist()
        tasks = [pool[place][0] for place in places]
        first = self.make_first_questions(questions, kind)
        asked = first.ask(tasks, first.make_docs(tasks), random)
        return [question.task for question in asked[:number]]

    @abstractmethod
    def initialize(
        self,
        nlp: Language,
        name: str,
        *,
        labels: Sequence[str],
        docs: Sequence[Doc],
        trained: Collection[str],
    ) -> None:
        """Initialize a component with the texts or pictures of a pool and its labels.

        Args:
            trained: other components, which stay as they are.
        """

    @abstractmethod
    def answer(
        self, task: Task, true: Truth, *, is_wrong: bool, random: np.random.Generator
    ) -> Task:
        """The task as someone answers it who knows what is true, or makes a mistake.

        Raises:
            ValueError: the task asks something else.
        """

    @abstractmethod
    def predict(self, component: Any, docs: Sequence[Doc]) -> Any:
        """What a component says of a few documents, to be put together for `measure`."""

    @abstractmethod
    def measure(
        self, found: Sequence[Any], true: Sequence[Truth], *, labels: Sequence[str], exclusive: bool
    ) -> Measured:
        """How good predictions are.

        Args:
            found: what `predict` gave, a batch after the other.
            true: of each document.
            exclusive: of classes, exactly one applies.
        """

    @abstractmethod
    def metric(self, *, exclusive: bool) -> str:
        """What a score is, in words."""

    def chance(self, true: Sequence[Truth], *, labels: Sequence[str], exclusive: bool) -> float:
        """What is reached by always saying the same."""
        return 0.0

    @abstractmethod
    def show(self, task: Task, true: Truth) -> Shown:
        """An answered question, for a reader."""
