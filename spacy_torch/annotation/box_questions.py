"""Questions about boxes: whether one is right, or which ones there are in a picture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_torch.annotation.mark_questions import MarkQuestions
from spacy_torch.annotation.questions import Question, spell, with_question
from spacy_torch.annotation.tasks import Task, show
from spacy_torch.annotation.verdicts import Verdicts, merge_verdicts
from spacy_torch.features.boxes import Box, set_boxes
from spacy_torch.features.image_docs import get_picture

# A box that shares so much with one that was accepted shows the same object, and one that
# shares so much with one that was asked about is the same question.
SAME_OBJECT = 0.5
SAME_QUESTION = 0.7


class Place(NamedTuple):
    """A box of a label, in pixels; rounded, as the same box is written in more ways than one."""

    label: str
    x: float
    y: float
    width: float
    height: float


class BoxQuestions(MarkQuestions):
    """Is there an object of this label in this box? And, drawn by hand: which boxes are there?

    For components that annotate `doc._.boxes`. Of a picture of which only single boxes were
    accepted or rejected, everything else stays unknown.

    Args:
        labels: ask about these only; None for all of the component's.
        floor: boxes that are less probable are not asked about.
        limit: the most questions about one picture and label, the likeliest boxes.
    """

    view_id = "image"

    def __init__(
        self,
        nlp: Language,
        name: str,
        *,
        labels: Sequence[str] | None = None,
        floor: float = 0.02,
        limit: int = 8,
    ) -> None:
        super().__init__(nlp, name, labels=labels, floor=floor, limit=limit)

    def read_marks(self, task: Task) -> list[Place]:
        """The boxes of a task."""
        return read_places(task)

    def ask(
        self, sources: Sequence[Task], docs: Sequence[Doc], random: np.random.Generator
    ) -> list[Question]:
        """A question for each box that is probable enough."""
        questions: list[Question] = []
        for place, (doc, boxes) in enumerate(zip(docs, self._find(docs), strict=True)):
            for box in _first_of_each_label(boxes, self.limit):
                question = {"spans": [to_span(box)], "label": box.label}
                task = with_question(sources[place], question, score=box.score)
                task["width"], task["height"] = get_picture(doc).size
                task["_view_id"] = self.view_id
                expected = "accept" if box.score >= 0.5 else "reject"
                answers = np.array([1 - box.score, box.score])
                questions.append(Question(task, place, answers, expected))
        return questions

    def is_answered(self, task: Task, answers: Sequence[Task]) -> bool:
        """Whether nearly the same box was decided on already: a model that learns moves them."""
        (place,) = read_places(task)
        asked = [read_places(answer) for answer in answers]
        if any(len(one) == 1 and _overlap(place, one[0]) >= SAME_QUESTION for one in asked):
            return True  # also an ignored one
        verdicts = _merge(answers)
        if verdicts is None:
            return False
        is_there = any(_overlap(place, other) >= SAME_OBJECT for other in verdicts.accepted)
        return is_there or verdicts.complete

    def check(self, task: Task) -> None:
        """Raise a `ValueError` for unknown labels, and for what is no box."""
        if task["answer"] != "ignore":
            for place in read_places(task):
                self.check_label(place.label, task)

    def read(self, tasks: Sequence[Task]) -> Example | None:
        """The boxes that are known to be there or not to be there; None if none is."""
        verdicts = _merge(tasks)
        if verdicts is None:
            return None
        doc = self.make_doc(tasks[0])
        reference = doc.copy()
        set_boxes(
            reference, verdicts.accepted, rejected=verdicts.rejected, complete=verdicts.complete
        )
        return Example(doc, reference)

    def _find(self, docs: Sequence[Doc]) -> list[list[Box]]:
        """The boxes of each picture that are probable enough, the likeliest first."""
        found: list[list[Box]] = []
        for one in self.component.probabilities(docs):
            boxes: list[Box] = [
                box
                for box in one.candidates
                if box.score >= self.floor and (not self.labels or box.label in self.labels)
            ]
            found.append(sorted(boxes, key=lambda box: -box.score))
        return found


class ManualBoxQuestions(BoxQuestions):
    """Which boxes are there? The annotator corrects those that the component finds."""

    view_id = "image_manual"

    def ask(
        self, sources: Sequence[Task], docs: Sequence[Doc], random: np.random.Generator
    ) -> list[Question]:
        """One question per picture, as open as the least sure of its boxes."""
        questions: list[Question] = []
        for place, (doc, boxes) in enumerate(zip(docs, self._find(docs), strict=True)):
            likely = [box for box in boxes if box.score >= 0.5]
            scores = [box.score for box in boxes]
            least_sure = min(scores, key=lambda score: abs(score - 0.5), default=0.0)
            # The same question whatever the component finds in the picture.
            task = with_question(sources[place], {"spans": []}, score=least_sure)
            task["spans"] = [to_span(box) for box in likely]
            task["width"], task["height"] = get_picture(doc).size
            task["_view_id"] = self.view_id
            answers = np.array([1 - least_sure, least_sure])
            questions.append(Question(task, place, answers, spell(read_places(task))))
        return questions

    def is_answered(self, task: Task, answers: Sequence[Task]) -> bool:
        """Whether the boxes of a picture were drawn already."""
        return self.is_settled(answers)


def to_span(box: Box) -> dict[str, Any]:
    """A box as Prodigy's interfaces have it, with all that one of them reads."""
    left, top, right, bottom = (round(value, 2) for value in box.corners)
    return {
        "label": box.label,
        "type": "rect",
        "x": left,
        "y": top,
        "width": round(right - left, 2),
        "height": round(bottom - top, 2),
        "center": [round((left + right) / 2, 2), round((top + bottom) / 2, 2)],
        "points": [[left, top], [left, bottom], [right, bottom], [right, top]],
        "score": round(box.score, 4),
    }


def read_places(task: Task) -> list[Place]:
    """The boxes of a task; of another shape, the box around it.

    Raises:
        ValueError: one has no label, no place or no area.
    """
    places: list[Place] = []
    for span in task.get("spans") or []:
        label = span.get("label") or task.get("label")
        try:
            if span.get("type", "rect") == "rect" and "width" in span:
                sides = [float(span[key]) for key in ("x", "y", "width", "height")]
            else:
                xs, ys = zip(*span["points"], strict=True)
                sides = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
            sides = [round(float(side), 2) for side in sides]
            is_box = all(map(math.isfinite, sides)) and min(sides[2:]) > 0
        except (KeyError, TypeError, ValueError):
            sides, is_box = [], False
        if not is_box or not isinstance(label, str):
            raise ValueError(
                f"the answer {show(task)}: a box must have a 'label', and 'x', 'y', 'width' and "
                f"'height' above 0 or 'points', got {span!r:.100}"
            )
        places.append(Place(label, *sides))
    return places


def _first_of_each_label(boxes: Sequence[Box], limit: int) -> list[Box]:
    counts: Counter[str] = Counter()
    chosen: list[Box] = []
    for box in boxes:
        counts[box.label] += 1
        if counts[box.label] <= limit:
            chosen.append(box)
    return chosen


def _merge(tasks: Sequence[Task]) -> Verdicts[Place] | None:
    return merge_verdicts(tasks, read_places, clash=lambda one, other: one == other)


def _overlap(one: Place, other: Place) -> float:
    """Intersection over union; 0 of different labels."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    if one.label != other.label or min(width, height) <= 0:
        return 0.0
    shared = width * height
    return shared / (one.width * one.height + other.width * other.height - shared)
