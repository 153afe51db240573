"""A simulation about classes of texts or pictures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc
from typing_extensions import override

from spacy_torch.annotation.classifier_pipeline import find_classifier, initialize_classifier
from spacy_torch.annotation.measures import (
    Floats,
    measure_accuracy,
    measure_average_precision,
    measure_calibration_error,
)
from spacy_torch.annotation.questions import ChoiceQuestions, Questions, YesNoQuestions
from spacy_torch.annotation.read_probabilities import read_probabilities
from spacy_torch.annotation.subject import Measured, Shown, Subject, Truth
from spacy_torch.annotation.tasks import Task, show

KINDS = {"choice": ChoiceQuestions, "binary": YesNoQuestions}


class ClassSubject(Subject):
    """Labels of whole documents."""

    name = "classes"
    kinds = {"choice": "which label applies", "binary": "whether a label applies, yes or no"}

    @override
    def find_component(self, nlp: Language, name: str | None = None) -> str:
        return find_classifier(nlp, name)

    @override
    def make_questions(self, nlp: Language, name: str, kind: str) -> Questions:
        return KINDS[kind](nlp, name)

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
        initialize_classifier(nlp, name, labels=labels, docs=docs[:10], pool=docs, trained=trained)

    @override
    def answer(
        self, task: Task, true: Truth, *, is_wrong: bool, random: np.random.Generator
    ) -> Task:
        if "options" in task:
            options = [option["id"] for option in task["options"]]
            return {**task, "accept": _choose(options, true, is_wrong, random), "answer": "accept"}
        if "label" not in task:
            raise ValueError(f"the question about {show(task)} has neither a label nor options")
        is_true = (task["label"] in true) != is_wrong
        return {**task, "answer": "accept" if is_true else "reject"}

    @override
    def predict(self, component: Any, docs: Sequence[Doc]) -> Any:
        return [one.values[0] for one in read_probabilities(component, docs)]

    @override
    def measure(
        self, found: Sequence[Any], true: Sequence[Truth], *, labels: Sequence[str], exclusive: bool
    ) -> Measured:
        return measure_classes(
            np.asarray([row for rows in found for row in rows], dtype=np.float64),
            make_truth(true, labels),
            exclusive=exclusive,
        )

    @override
    def metric(self, *, exclusive: bool) -> str:
        return "accuracy" if exclusive else "average precision"

    @override
    def chance(self, true: Sequence[Truth], *, labels: Sequence[str], exclusive: bool) -> float:
        shares = make_truth(true, labels).mean(axis=0)
        return float(shares.max() if exclusive else shares.mean())

    @override
    def show(self, task: Task, true: Truth) -> Shown:
        truth = sorted(true)
        shown = ", ".join(truth) or "none"
        if "options" in task:
            given = task.get("accept", [])
            said = ", ".join(given) or "none"
            return Shown("which label?", said, shown, sorted(given) == truth)
        is_right = task["answer"] == ("accept" if task["label"] in true else "reject")
        return Shown(f"{task['label']}?", task["answer"], shown, is_right)


def measure_classes(scores: Floats, truth: Floats, *, exclusive: bool) -> Measured:
    """How good the probabilities of labels are."""
    measure = measure_accuracy if exclusive else measure_average_precision
    error = measure_calibration_error(scores, truth, exclusive=exclusive)
    return Measured(measure(scores, truth), error)


def make_truth(true: Iterable[Truth], labels: Sequence[str]) -> Floats:
    """1 where a label applies and 0 elsewhere, shape (document, label)."""
    return np.array([[float(label in one) for label in labels] for one in true])


def _choose(
    options: list[str], true: Truth, is_wrong: bool, random: np.random.Generator
) -> list[str]:
    chosen = [option for option in options if option in true]
    if not is_wrong:
        return chosen
    if len(chosen) == 1 and len(options) > 1:
        others = [option for option in options if option not in true]
        return [others[int(random.integers(len(others)))]]
    turned = options[int(random.integers(len(options)))]
    return [option for option in options if (option in true) != (option == turned)]
