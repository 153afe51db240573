"""What questions about spans and about boxes share: an input has any number of such marks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from spacy.language import Language

from spacy_torch.annotation.questions import Questions, spell
from spacy_torch.annotation.tasks import Task
from spacy_torch.annotation.verdicts import is_whole


class MarkQuestions(Questions):
    """Is this mark right? And, drawn by hand: which marks are there?

    Args:
        labels: ask about these only; None for all of the component's.
        floor: marks that are less probable are not asked about.
        limit: the most questions about one input, the likeliest marks.
    """

    def __init__(
        self,
        nlp: Language,
        name: str,
        *,
        labels: Sequence[str] | None = None,
        floor: float,
        limit: int = 8,
    ) -> None:
        super().__init__(nlp, name)
        self.labels = tuple(labels) if labels is not None else None
        self.floor = floor
        self.limit = limit

    @property
    def is_exclusive(self) -> bool:
        """An input has any number of marks."""
        return False

    @abstractmethod
    def read_marks(self, task: Task) -> Sequence[tuple[Any, ...]]:
        """The marks of a task."""

    def is_settled(self, answers: Sequence[Task]) -> bool:
        """Whether an annotator has seen to all marks of an input."""
        return any(is_whole(task) for task in answers)

    def agrees(self, task: Task, expected: str) -> bool:
        """Whether an answer is the one that was expected."""
        if is_whole(task):
            return spell(self.read_marks(task)) == expected
        return task["answer"] == expected
