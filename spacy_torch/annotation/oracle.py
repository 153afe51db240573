"""A simulated annotator: answers the question that was asked, in the form it was asked in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spacy_torch.annotation.class_subject import ClassSubject
from spacy_torch.annotation.gold import Gold
from spacy_torch.annotation.subject import Subject
from spacy_torch.annotation.tasks import Task, show


@dataclass(frozen=True)
class Noise:
    """How often the annotator errs.

    Attributes:
        flipped: the share of answers that are wrong: accept and reject exchanged, another
            option chosen, or one of several things overlooked.
        ignored: the share of questions that are passed over.
    """

    flipped: float = 0.0
    ignored: float = 0.0

    def __post_init__(self) -> None:
        if min(self.flipped, self.ignored) < 0 or self.flipped + self.ignored > 1:
            raise ValueError(
                "the shares of flipped and ignored answers must be at least 0 and together at most "
                f"1, got {self.flipped} and {self.ignored}"
            )


class Oracle:
    """Knows what is true of a pool, and makes the mistakes that it is told to make.

    To the same question it gives the same answer, whoever asks and whenever.

    Args:
        seed: of the mistakes.
        subject: what the questions are about; classes by default.
    """

    def __init__(
        self,
        pool: Sequence[Gold],
        *,
        noise: Noise | None = None,
        seed: int = 0,
        subject: Subject | None = None,
    ) -> None:
        self._true = {gold.key: gold.true for gold in pool}
        self._noise = noise or Noise()
        self._seed = seed
        self._subject = subject or ClassSubject()

    def answer(self, task: Task) -> Task:
        """The task with its answer.

        Raises:
            ValueError: it is about nothing in the pool, or asks for something else.
        """
        true = self._true.get(task["_input_hash"])
        if true is None:
            raise ValueError(f"the simulated annotator knows nothing of {show(task)}")
        random = np.random.default_rng([self._seed, task["_task_hash"] + 2**31])
        draw = random.random()
        if draw < self._noise.ignored:
            return {**task, "answer": "ignore"}
        is_wrong = draw < self._noise.ignored + self._noise.flipped
        return self._subject.answer(task, true, is_wrong=is_wrong, random=random)
