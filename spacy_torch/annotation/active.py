"""The loop: a model that chooses what to ask, and learns from every answer at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Optimizer

from spacy_torch.annotation.choosing import EXPECTED, RANDOM, choose, has_to_guess
from spacy_torch.annotation.journal import Journal
from spacy_torch.annotation.pipelines import save_pipeline
from spacy_torch.annotation.questions import Question, Questions
from spacy_torch.annotation.rehearsal import Rehearsal, plan_batches
from spacy_torch.annotation.strategies import Strategy, build_random
from spacy_torch.annotation.tasks import Task, check_answer, content_of, distinct, set_hashes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How a loop goes about it.

    Attributes:
        batch: how many questions are chosen at a time.
        window: how many documents of the pool are looked at for them, drawn anew each time.
        epsilon: the share of questions that chance chooses. Of a strategy that goes by what the
            model doubts it chooses all while the model only guesses (see `Strategy`).
        epochs: how often all answered examples are gone through, by gradient, for each batch
            of answers.
        minibatch: how many examples a step takes.
        drop: the rate of dropout.
        seed: of everything that is drawn.

    Raises:
        ValueError: there is no such share, or no such number.
    """

    batch: int = 10
    window: int = 256
    epsilon: float = 0.1
    epochs: int = 4
    minibatch: int = 16
    drop: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epsilon", "drop"):
            if not 0.0 <= (share := getattr(self, name)) <= 1.0:
                raise ValueError(f"{name} must be a share from 0 to 1, got {share}")
        for name, least in (("batch", 1), ("window", 1), ("epochs", 0), ("minibatch", 1)):
            if (number := getattr(self, name)) < least:
                raise ValueError(f"{name} must be {least} or more, got {number}")


@dataclass(frozen=True)
class Progress:
    """How far a session has come.

    Attributes:
        n_answers: given, ignored ones among them.
        n_left: documents of the pool without an answer.
        n_random: answers to questions that chance chose.
        accuracy: the share of these that the model, before it was told, would have answered
            as the annotator did: an unbiased estimate. None before the first.
    """

    n_answers: int
    n_left: int
    n_random: int
    accuracy: float | None


class ActiveLearner:
    """Asks, writes the answer down, learns.

    An answer is on the disk before anything else is done with it. A component that learns
    at once (such as one of `spacy-torch.FastTextCat.v1`) knows it when `receive` returns;
    what is learned by gradient is rehearsed on all answers so far, in a background thread
    between the steps of which questions and answers go on, or, without one, before
    `receive` returns. What an answer says of a document that was asked about before is put
    together with the other answers; of two that contradict each other the later one counts.

    Args:
        nlp: an initialized pipeline.
        questions: how to ask about one of its components.
        pool: the tasks to ask about; of those with the same input the first counts.
        strategy: which questions to ask.
        journal: where answers are written. Those that it has already are learned first.
        background: rehearse in a thread of its own.

    Raises:
        ValueError: the pool is empty, or the component is not initialized.
    """

    def __init__(
        self,
        nlp: Language,
        questions: Questions,
        pool: Iterable[Task],
        *,
        strategy: Strategy,
        journal: Journal | None = None,
        settings: Settings | None = None,
        optimizer: Optimizer | None = None,
        background: bool = False,
    ) -> None:
        self.nlp = nlp
        self.questions = questions
        self.strategy = strategy
        self.journal = journal if journal is not None else Journal(None)
        self.settings = settings or Settings()
        # Answers that another tool has saved have hashes of its own.
        known = {content_of(task): task["_input_hash"] for task in self.journal.answers.values()}
        self.pool = distinct(
            {**task, "_input_hash": known[content_of(task)]} if content_of(task) in known else task
            for task in pool
        )
        if not self.pool:
            raise ValueError("the pool is empty: there is nothing to ask about")
        if not self.questions.component.labels:
            raise ValueError(
                f"{questions.name!r} has no labels: initialize the pipeline first, with the labels "
                "that are to be annotated"
            )
        self._examples: dict[int, Example] = {}
        self._unusable: set[int] = set()  # answers, by their task
        self._lock = threading.RLock()
        self._drop_other_kinds()
        self._catch_up()
        self._rehearsal = Rehearsal(
            questions.upstream,
            self._plan,
            optimizer=optimizer if optimizer is not None else nlp.resume_training(),
            drop=self.settings.drop,
            lock=self._lock,
            background=background,
        )
        if background and self._examples:
            self._rehearsal.begin()

    # Asking ----------------------------------------------------------------------------

    def ask(self, number: int | None = None) -> list[Task]:
        """The next questions: those still open, or else as many as asked for.

        Fewer, or none, where the pool has no more.
        """
        with self._lock:
            self._rehearsal.raise_failure()
            if not self.journal.pending:
                self.journal.ask(self._choose(number or self.settings.batch))
            return list(self.journal.pending.values())

    @property
    def examples(self) -> list[Example]:
        """What the answers say of each input, those left out that they say nothing of."""
        with self._lock:
            return list(self._examples.values())

    def score(self, tasks: Sequence[Task]) -> list[Question]:
        """All questions about given inputs, and how sure the model is."""
        with self._lock:
            tasks = [set_hashes(task) for task in tasks]
            return self.questions.ask(tasks, self.questions.make_docs(tasks), self._random(2))

    def more(self, number: int | None = None) -> list[Task]:
        """Further questions, though those before are not answered yet.

        For tools that keep a few on the way; they are asked about other inputs, as long as
        there are any. Fewer, or none, where the pool has no more.
        """
        with self._lock:
            self._rehearsal.raise_failure()
            number = number or self.settings.batch
            pending = self.journal.pending
            busy = {task["_input_hash"] for task in pending.values()}
            tasks = self._choose(number, busy) or self._choose(number)
            if tasks:
                self.journal.ask([*pending.values(), *tasks])
            return tasks

    def _choose(self, number: int, busy: Collection[int] = ()) -> list[Task]:
        strategy, epsilon, window = self.strategy, self.settings.epsilon, self.settings.window
        if has_to_guess(strategy, self.questions):
            # As in a session in random order, whose questions these are then.
            strategy, epsilon, window = build_random(), 1.0, number
        random = self._random(0)
        return choose(
            self._draw_questions(number, max(window, number), random, busy),
            number,
            questions=self.questions,
            strategy=strategy,
            epsilon=epsilon,
            random=random,
        )

    def _draw_questions(
        self, number: int, window: int, random: np.random.Generator, busy: Collection[int]
    ) -> list[Question]:
        """Open questions about a window of inputs, or about more to find enough."""
        places = [
            place
            for place, task in enumerate(self.pool)
            if task["_input_hash"] not in busy and not self._is_settled(task["_input_hash"])
        ]
        drawn = random.permutation(places).astype(int).tolist()
        found: list[Question] = []
        for start in range(0, len(drawn), window):
            tasks = [self.pool[place] for place in drawn[start : start + window]]
            docs = self.questions.make_docs(tasks)
            given = [self.journal.of_input(task["_input_hash"]) for task in tasks]
            found += [
                question
                for question in self.questions.ask_open(tasks, docs, self._random(2), given)
                if question.task["_task_hash"] not in self.journal.pending
            ]
            if len(found) >= number:
                break
        return found

    def _is_settled(self, key: int) -> bool:
        given = self.journal.of_input(key)
        return bool(given) and self.questions.is_settled(given)

    def _random(self, purpose: int) -> np.random.Generator:
        """The same numbers after a restart: drawn by how many answers there are."""
        return np.random.default_rng([self.settings.seed, len(self.journal), purpose])

    # Learning --------------------------------------------------------------------------

    def receive(self, tasks: Iterable[Task]) -> None:
        """Write answers down and learn from them.

        Raises:
            ValueError: an answer cannot be used; nothing is written then.
        """
        tasks = [set_hashes(task) for task in tasks]
        with self._lock:
            self._rehearsal.raise_failure()
            for task in tasks:
                check_answer(task)
                self.questions.check(task)
            self._unusable.difference_update(task["_task_hash"] for task in tasks)
            self.journal.write(tasks)
            self._learn({task["_input_hash"] for task in tasks})

    def undo(self) -> Task | None:
        """Take the last answer back, and return its task, to be asked again.

        What was learned at once is unlearned exactly. What a network learned by gradient
        from it stays until other examples have covered it.
        """
        with self._lock:
            task = self.journal.undo()
            if task is not None:
                self._learn({task["_input_hash"]}, correcting=True)
            return task

    def take_back(self, task_hash: int) -> Task:
        """Take back any answer, as `undo` does the last one.

        Raises:
            ValueError: there is no answer to this question.
        """
        with self._lock:
            task = self.journal.take_back(task_hash)
            self._learn({task["_input_hash"]}, correcting=True)
            return task

    def progress(self) -> Progress:
        """How far the session has come."""
        with self._lock:
            answers = self.journal.answers.values()
            asked = {task["_input_hash"] for task in answers}
            drawn = [task for task in answers if task.get(RANDOM) and task["answer"] != "ignore"]
            right = [self.questions.agrees(task, task[EXPECTED]) for task in drawn]
            return Progress(
                n_answers=len(self.journal),
                n_left=sum(task["_input_hash"] not in asked for task in self.pool),
                n_random=len(drawn),
                accuracy=sum(right) / len(right) if right else None,
            )

    def save(self, path: Path) -> None:
        """Save the pipeline as it is now; see `save_pipeline`."""
        with self._lock:
            save_pipeline(self.nlp, path)

    def close(self) -> None:
        """End the background thread, after the step that it is at."""
        self._rehearsal.close()

    def _drop_other_kinds(self) -> None:
        """Take back open questions of a session that asked in another way."""
        view_id = self.questions.view_id
        pending = list(self.journal.pending.values())
        kept = [task for task in pending if task.get("_view_id", view_id) == view_id]
        if len(kept) < len(pending):
            self.journal.ask(kept)

    def _catch_up(self) -> None:
        answers = list(self.journal.answers.values())
        for task in answers:
            try:
                self.questions.check(task)
            except ValueError as error:
                logger.warning("an answer of the journal is not learned: %s", error)
                self._unusable.add(task["_task_hash"])
        inputs = list(dict.fromkeys(task["_input_hash"] for task in answers))
        for key in inputs:
            self._read(key)
        # A pipeline that was saved may know an answer that was taken back afterwards.
        undone = {key: task for key, task in self._pending_inputs().items() if key not in inputs}
        self._forget([self.questions.make_doc(task) for task in undone.values()])
        self._learn_at_once(list(self._examples.values()))

    def _pending_inputs(self) -> dict[int, Task]:
        return {task["_input_hash"]: task for task in self.journal.pending.values()}

    def _learn(self, inputs: set[int], *, correcting: bool = False) -> None:
        before = {key: self._examples.get(key) for key in inputs}
        for key in inputs:
            self._read(key)
        replaced = [eg.predicted for key, eg in before.items() if eg is not None]
        self._forget(replaced)
        self._learn_at_once([self._examples[key] for key in inputs if key in self._examples])
        if self._rehearsal.thread is not None or not correcting:
            self._rehearsal.begin()

    def _plan(self) -> list[list[Example]]:
        return plan_batches(
            list(self._examples.values()),
            epochs=self.settings.epochs,
            size=self.settings.minibatch,
            random=self._random(1),
        )

    def _forget(self, docs: list[Doc]) -> None:
        forget = getattr(self.questions.component, "forget", None)
        if docs and forget is not None:
            # A model that cannot forget learns the correction by gradient.
            with suppress(TypeError):
                forget(docs)

    def _read(self, key: int) -> None:
        answers = [
            task for task in self.journal.of_input(key) if task["_task_hash"] not in self._unusable
        ]
        example = self.questions.read(answers) if answers else None
        if example is None:
            self._examples.pop(key, None)
        else:
            self._examples[key] = example

    def _learn_at_once(self, examples: list[Example]) -> None:
        learn = getattr(self.questions.component, "learn_at_once", None)
        if learn is not None and examples:
            learn(examples)
