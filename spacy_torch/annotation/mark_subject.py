"""What simulations about spans and about boxes share: an input has any number of such marks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from spacy.language import Language
from typing_extensions import override

from spacy_torch.annotation.kinds import find_questions
from spacy_torch.annotation.measures import measure_calibration_error
from spacy_torch.annotation.questions import Questions
from spacy_torch.annotation.subject import Subject

# Marks that are less probable say nothing of calibration: there is no end of them.
FLOOR = 0.05


class MarkSubject(Subject):
    """Spans or boxes; a session begins with inputs that are marked by hand.

    A model that has never seen such a mark would ask about any piece of the input.
    """

    @override
    def find_component(self, nlp: Language, name: str | None = None) -> str:
        return find_questions(nlp, name).name

    @override
    def make_questions(self, nlp: Language, name: str, kind: str) -> Questions:
        return find_questions(nlp, name, kind)  # pyright: ignore[reportArgumentType]

    @override
    def make_first_questions(self, questions: Questions, kind: str) -> Questions:
        return self.make_questions(questions.nlp, questions.name, "manual")


def measure_marks_calibration(pairs: Sequence[tuple[float, float]]) -> float:
    """The calibration error of marks.

    Args:
        pairs: of each mark its probability, and 1 if it is right or 0 if it is not.
    """
    scores, right = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return measure_calibration_error(scores, right, exclusive=False)
