"""Learning while people label in Label Studio: predictions go there, annotations come back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np

from spacy_torch.annotation.active import ActiveLearner, Progress
from spacy_torch.annotation.choosing import RANDOM
from spacy_torch.annotation.label_studio_interface import Interface
from spacy_torch.annotation.label_studio_project import Prediction, Project
from spacy_torch.annotation.label_studio_tasks import (
    make_question,
    read_annotation,
    write_results,
)
from spacy_torch.annotation.questions import Question, Questions
from spacy_torch.annotation.tasks import Task

# The annotation that an answer comes from, when it was changed, and its task: it is read once.
ANNOTATION = "_annotation"

logger = logging.getLogger(__name__)


class LabelStudioLoop:
    """Keeps the questions that a model wants answered most at the head of a project's queue.

    A score in Label Studio is how sure the model is of its prediction: the project shows the
    task with the lowest first. A question that chance chose has the score of another one
    drawn by chance, so that whether it is answered does not depend on how sure the model is.

    Args:
        project: where people label.
        learner: asks about the project's tasks, for whole answers: choices, or all spans or
            boxes at once.
        ahead: how many questions wait in the project.
        every: after how many answers they are chosen anew.

    Attributes:
        refused: annotations that could not be learned from, and why, by their number.

    Raises:
        ValueError: the component and the labelling config do not fit.
    """

    def __init__(
        self, project: Project, learner: ActiveLearner, *, ahead: int = 20, every: int = 10
    ) -> None:
        check_interface(project.interface, learner.questions)
        self.project = project
        self.learner = learner
        self.ahead = ahead
        self.every = every
        self.refused: dict[int, str] = {}
        # By what is shown: answers that another tool has saved have hashes of its own.
        self._shown = project.interface.media
        self._inputs = {task[self._shown]: task["_input_hash"] for task in learner.pool}
        self._asked: dict[int, Task] = dict(learner.journal.pending)
        self._queue: set[int] | None = None  # hashes of the questions that lie in the project
        self._n_new = 0
        self._lock = threading.Lock()

    def step(self, records: Iterable[Mapping[str, Any]] | None = None) -> bool:
        """Fetch answers, learn, and choose questions anew if it is time to.

        Args:
            records: tasks that were just polled; by default the project is.

        Returns:
            Whether there is anything left to ask.
        """
        self.learn(records)
        if self._queue is None or not self._queue or self._n_new >= self.every:
            self._push()
        return bool(self._queue)

    def learn(self, records: Iterable[Mapping[str, Any]] | None = None) -> int:
        """Fetch answers and learn from them; how many were new or gone. Any thread may call it.

        An answer whose annotation was deleted is taken back, and may be asked for again.
        """
        # What one thread has polled must not be read after what another has polled later. A
        # server that asks for predictions while it answers does not meet this lock.
        with self._lock:
            answers, gone = self._read(self.project.poll() if records is None else records)
            for key in gone:
                self.learner.take_back(key)
            if answers:
                self.learner.receive(answers)
            self._n_new += len(answers) + len(gone)
            if self._queue is not None:
                self._queue -= {task["_task_hash"] for task in answers}
        return len(answers) + len(gone)

    def predict(self, records: Iterable[Mapping[str, Any]]) -> list[Prediction | None]:
        """What the model says of tasks of the project; None of those that cannot be used.

        Those that the project does not know yet are read as they are given, and not kept.
        """
        sources: dict[int, Task] = {}
        numbers: list[int] = []
        for record in records:
            numbers.append(int(record["id"]))
            source = self.project.sources.get(numbers[-1]) or self.project.read_source(record)
            if source is not None:
                sources[numbers[-1]] = source
        scored = self.learner.score(list(sources.values()))
        found = {
            number: Prediction(
                number, self._predict(question), confidence(question, one_of=self._is_one_of)
            )
            for number, question in zip(sources, scored, strict=True)
        }
        return [found.get(number) for number in numbers]

    def run(
        self,
        *,
        poll: float = 2.0,
        stop: threading.Event | None = None,
        tell: Callable[[Progress], None] | None = None,
    ) -> Progress:
        """Go on until there is nothing left to ask, or until `stop` is set.

        Args:
            poll: seconds between two looks at the project.
            tell: called when there are new answers.
        """
        stop = stop or threading.Event()
        n_told = -1
        while True:
            is_open = self.step()
            progress = self.learner.progress()
            if tell is not None and progress.n_answers != n_told:
                n_told = progress.n_answers
                tell(progress)
            if not is_open or stop.wait(poll):
                return progress

    def _read(self, records: Iterable[Mapping[str, Any]]) -> tuple[list[Task], list[int]]:
        """The answers that are new in tasks, and the questions whose answers are gone."""
        questions = self.learner.questions
        answers: list[Task] = []
        gone: list[int] = []
        for record in records:
            number = int(record["id"])
            question = self._make_question(self.project.sources[number])
            former = self.learner.journal.answers.get(question["_task_hash"], {})
            annotation = _choose_annotation(record)
            if annotation is None:
                # Of two tasks that show the same, only the one that it came from can lose it.
                if former.get(ANNOTATION, [])[2:] == [number]:
                    gone.append(question["_task_hash"])
                continue
            stamp = [annotation["id"], annotation.get("updated_at"), number]
            if stamp == former.get(ANNOTATION):
                continue
            try:
                answer = read_annotation(annotation, question, self.project.interface)
                questions.check(answer)
            except ValueError as error:
                self._refuse(annotation, number, error)
                continue
            answers.append({**answer, ANNOTATION: stamp})
        return answers, gone

    def _make_question(self, source: Task) -> Task:
        if source[self._shown] not in self._inputs:  # imported while we were running
            self._inputs[source[self._shown]] = source["_input_hash"]
            self.learner.pool.append(source)
        source = {**source, "_input_hash": self._inputs[source[self._shown]]}
        questions = self.learner.questions
        question = make_question(source, questions.component.labels, view_id=questions.view_id)
        # With what was noted when it was asked, as whether chance chose it.
        return {**self._asked.get(question["_task_hash"], {}), **question}

    def _refuse(self, annotation: Mapping[str, Any], number: int, error: ValueError) -> None:
        key, reason = int(annotation["id"]), str(error)
        if self.refused.get(key) != reason:
            self.refused[key] = reason
            logger.warning("task %d: an annotation is left out: %s", number, reason)

    def _push(self) -> None:
        learner = self.learner
        if self._queue is not None:
            # What was asked before and is not answered yet is asked again only if it is still
            # wanted. After a restart, the questions are those of before.
            learner.journal.ask([])
        while (tasks := self._ask()) and self._send(tasks):
            self._drop_deleted()
        with self._lock:
            answered = self.learner.journal.answers
            self._queue = {task["_task_hash"] for task in tasks} - answered.keys()
            self._n_new = 0

    def _ask(self) -> list[Task]:
        journal, places = self.learner.journal, self.project.places
        pending = list(journal.pending.values())
        there = [task for task in pending if task.get(self._shown) in places]
        if len(there) < len(pending):  # deleted, be it while nobody listened
            journal.ask(there)
        tasks = self.learner.ask(self.ahead)
        self._asked.update((task["_task_hash"], task) for task in tasks)
        return tasks

    def _send(self, tasks: list[Task]) -> set[int]:
        """Send questions as predictions; the numbers of tasks that are not there any more."""
        scored = self.learner.score(tasks)
        scores = self._score(tasks, scored)
        predictions = [
            Prediction(self.project.places[task[self._shown]], self._predict(question), score)
            for task, question, score in zip(tasks, scored, scores, strict=True)
        ]
        return self.project.send(predictions, version=self._name_version(tasks))

    def _drop_deleted(self) -> None:
        with self._lock:
            self.project.drop_deleted()
            places = self.project.places
            kept = [task for task in self.learner.pool if task[self._shown] in places]
            self.learner.pool = kept
            self._inputs = {task[self._shown]: task["_input_hash"] for task in kept}

    def _score(self, tasks: list[Task], scored: list[Question]) -> list[float]:
        one_of = self._is_one_of
        scores = [confidence(question, one_of=one_of) for question in scored]
        random = np.random.default_rng([self.learner.settings.seed, len(self.learner.journal)])
        return [
            float(random.choice(scores)) if task.get(RANDOM) else score
            for task, score in zip(tasks, scores, strict=True)
        ]

    def _predict(self, question: Question) -> list[dict[str, Any]]:
        task, interface = question.task, self.project.interface
        if interface.kind == "choices":
            labels = [option["id"] for option in task["options"]]
            likely = [
                label
                for label, value in zip(labels, question.probabilities, strict=True)
                if value >= 0.5
            ]
            task = {**task, "accept": [question.expected] if self._is_one_of else likely}
        else:
            spans = [span for span in task["spans"] if span["label"] in interface.labels]
            task = {**task, "spans": spans}
        return write_results(task, interface)

    @property
    def _is_one_of(self) -> bool:
        return self.project.interface.kind == "choices" and not self.project.interface.many

    def _name_version(self, tasks: list[Task]) -> str:
        """The same name for the same questions, also after a restart."""
        hashes = sorted(task["_task_hash"] for task in tasks)
        n_answers = len(self.learner.journal)
        digest = blake2b(repr((n_answers, hashes)).encode("ascii"), digest_size=3).hexdigest()
        return f"{self.learner.questions.name}-{n_answers}-{digest}"


def confidence(question: Question, *, one_of: bool) -> float:
    """How sure a model is of what it predicts: of the least sure of its decisions."""
    probabilities = question.probabilities
    if one_of:
        return float(probabilities.max())
    return float(np.maximum(probabilities, 1 - probabilities).min())


def check_interface(interface: Interface, questions: Questions) -> None:
    """Raise a `ValueError` if annotators are asked something else than the component learns."""
    name, view = questions.name, questions.view_id
    views = {
        "choices": ("choice",),
        "labels": ("ner_manual", "spans_manual"),
        "rectanglelabels": ("image_manual",),
    }[interface.kind]
    if view not in views:
        raise ValueError(
            f"the labelling config asks for {interface.kind}, which {name!r} does not learn: its "
            f"questions are of the kind {view!r}; choose another component or project"
        )
    labels = set(questions.component.labels)
    unknown = [label for label in interface.labels if label not in labels]
    missing = [label for label in labels if label not in interface.labels]
    if unknown or (missing and interface.kind == "choices"):
        raise ValueError(
            f"the labelling config has the labels {sorted(interface.labels)}, {name!r} has "
            f"{sorted(labels)}: they must be the same; change the labelling config, or initialize "
            "the component with those of the project"
        )
    if interface.kind == "choices" and interface.many and questions.is_exclusive:
        raise ValueError(
            f"the labelling config allows several choices, but the labels of {name!r} exclude each "
            'other: set choice="single" there, or use torch_textcat_multilabel'
        )


def _choose_annotation(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Of several annotations the one marked as ground truth counts, or else the latest.

    One that was cancelled counts only if there is no other.
    """
    found = list(record.get("annotations") or [])
    given = [one for one in found if not one.get("was_cancelled")] or found
    chosen = [one for one in given if one.get("ground_truth")] or given
    return max(chosen, key=lambda one: (str(one.get("updated_at")), one["id"]), default=None)
