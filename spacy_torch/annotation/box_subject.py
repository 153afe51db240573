"""A simulation about boxes in pictures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from typing_extensions import override

from spacy_torch.annotation.box_precision import judge_boxes, measure_box_precision, overlaps_of
from spacy_torch.annotation.box_questions import BoxQuestions, Place, read_places, to_span
from spacy_torch.annotation.mark_subject import FLOOR, MarkSubject, measure_marks_calibration
from spacy_torch.annotation.questions import Questions, with_question
from spacy_torch.annotation.subject import Measured, Shown, Truth
from spacy_torch.annotation.tasks import Task, show
from spacy_torch.annotation.verdicts import is_whole
from spacy_torch.features.boxes import Box

# A box of the right label that shares so much with an object is accepted.
ACCEPTED = 0.5
# Whoever may put boxes right does so if they share less than this, and more than the other, with
# an object of their label, or would be accepted with another label.
TIGHT = 0.7
BESIDE = 0.1
# In a task: the annotator may put a wrong box right, and not only refuse it.
CORRECTABLE = "_correctable"


class CorrectableBoxQuestions(BoxQuestions):
    """Is there an object of this label in this box, or nearly? Then it may be put right."""

    @override
    def ask(
        self, sources: Sequence[Task], docs: Sequence[Doc], random: np.random.Generator
    ) -> list[Any]:
        questions = super().ask(sources, docs, random)
        for question in questions:
            question.task[CORRECTABLE] = True
        return questions


class BoxSubject(MarkSubject):
    """Boxes around the objects of a picture.

    A session begins with one box of each label that the annotator draws: what has never been
    seen cannot be proposed. What no box was proposed for stays unknown.
    """

    name = "boxes"
    kinds = {
        "binary": "whether a box is at an object of its label, yes or no; one box of each label "
        "is drawn first",
        "correct": "the same, and boxes that are beside an object, or have a wrong label, are put "
        "right",
        "manual": "which boxes there are",
    }

    @override
    def make_questions(self, nlp: Language, name: str, kind: str) -> Questions:
        if kind == "correct":
            return CorrectableBoxQuestions(nlp, name)
        return super().make_questions(nlp, name, kind)

    @override
    def ask_first(
        self,
        questions: Questions,
        pool: Sequence[tuple[Task, Truth]],
        *,
        kind: str,
        number: int,
        random: np.random.Generator,
    ) -> list[Task]:
        if kind == "manual":
            return super().ask_first(questions, pool, kind=kind, number=number, random=random)
        order = random.permutation(len(pool)).tolist()
        tasks: list[Task] = []
        for label in questions.component.labels:
            seen = (pool[place] for place in order)
            found = (task for task, true in seen if any(box.label == label for box in true))
            task = next(found, None)
            if task is not None:
                tasks.append(with_question(task, {"spans": [], "label": label}, score=0.0))
        return [{**task, "_view_id": questions.view_id} for task in tasks]

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
        component: Any = nlp.get_pipe(name)
        component.initialize(
            lambda: [Example(doc, doc) for doc in docs], nlp=nlp, labels=list(labels)
        )

    @override
    def answer(
        self, task: Task, true: Truth, *, is_wrong: bool, random: np.random.Generator
    ) -> Task:
        objects: list[Place] = sorted(true)
        if is_whole(task):
            if is_wrong and objects:
                objects.pop(int(random.integers(len(objects))))  # overlooked
            return {**task, "spans": [to_span(Box(*one)) for one in objects], "answer": "accept"}
        if not task.get("spans"):
            drawn = [one for one in objects if one.label == task.get("label")][:1]
            if not drawn:
                return {**task, "answer": "ignore"}
            return {**task, "spans": [to_span(Box(*one)) for one in drawn], "answer": "accept"}
        _, overlap = _find_nearest(task, objects)
        right = _put_right(task, objects) if task.get(CORRECTABLE) and not is_wrong else None
        if right is not None:
            spans = [to_span(Box(*right))]
            return {**task, "spans": spans, "label": right.label, "answer": "accept"}
        is_yes = (overlap >= ACCEPTED) != is_wrong
        return {**task, "answer": "accept" if is_yes else "reject"}

    @override
    def predict(self, component: Any, docs: Sequence[Doc]) -> list[list[Box]]:
        return [list(one.candidates) for one in component.probabilities(docs)]

    @override
    def measure(
        self, found: Sequence[Any], true: Sequence[Truth], *, labels: Sequence[str], exclusive: bool
    ) -> Measured:
        pictures: list[list[Box]] = [boxes for batch in found for boxes in batch]
        objects = [[Box(*place) for place in sorted(truth)] for truth in true]
        score = measure_box_precision(pictures, objects, labels=labels, overlap=ACCEPTED)
        pairs = [
            pair
            for boxes, truth in zip(pictures, objects, strict=True)
            for pair in judge_boxes([box for box in boxes if box.score >= FLOOR], truth)
        ]
        return Measured(score, measure_marks_calibration(pairs))

    @override
    def metric(self, *, exclusive: bool) -> str:
        return "AP50 of boxes"

    @override
    def show(self, task: Task, true: Truth) -> Shown:
        given, truth = read_places(task), spell_places(true)
        if is_whole(task):
            is_right = frozenset(given) == true
            return Shown("which boxes?", spell_places(given), truth, is_right)
        if task["answer"] == "accept" and given and given[0] in true:  # drawn, or put right
            return Shown(f"{task['label']}?", spell_places(given), truth, True)
        nearest, overlap = _find_nearest(task, sorted(true))
        is_there = nearest is not None and overlap >= ACCEPTED
        is_right = task["answer"] == ("accept" if is_there else "reject")
        return Shown(f"{spell_places(given)}?", task["answer"], truth, is_right)


def count_drawn(task: Task, true: Truth) -> int:
    """How many boxes the annotator drew to answer, those that were put right among them."""
    if task["answer"] != "accept":
        return 0
    given = read_places(task)
    if is_whole(task):
        return len(given)
    return int(given[0] in true)


def spell_places(places: Iterable[Place]) -> str:
    """Boxes with their labels, in words."""
    said = [f"{p.label} {p.width:g} x {p.height:g} at {p.x:g}, {p.y:g}" for p in sorted(places)]
    return ", ".join(said) or "none"


def _find_nearest(task: Task, objects: Sequence[Place]) -> tuple[Place | None, float]:
    """The object of its label that the box of a task covers best, and how far.

    Raises:
        ValueError: the task does not ask about one box.
    """
    places = read_places(task)
    if len(places) != 1:
        raise ValueError(f"the question about {show(task)} is not about one box")
    return _nearest_of(places[0], [one for one in objects if one.label == places[0].label])


def _nearest_of(place: Place, objects: Sequence[Place]) -> tuple[Place | None, float]:
    if not objects:
        return None, 0.0
    overlaps = overlaps_of([Box(*place)], [Box(*one) for one in objects])[0]
    best = int(overlaps.argmax())
    return objects[best], float(overlaps[best])


def _put_right(task: Task, objects: Sequence[Place]) -> Place | None:
    """The object that the box of a task was meant for; None if it is right, or is nowhere."""
    nearest, overlap = _find_nearest(task, objects)
    if overlap >= TIGHT:
        return None
    if overlap >= BESIDE:
        return nearest
    other, overlap = _nearest_of(read_places(task)[0], objects)
    return other if overlap >= ACCEPTED else None
