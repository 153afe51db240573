"""A simulated annotator: answers the question that was asked, in the form it was asked in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spacy_torch.annotation.gold import Gold
from spacy_torch.annotation.tasks import Task, show


@dataclass(frozen=True)
class Noise:
    """How often the annotator errs.

    Attributes:
        flipped: the share of answers that are wrong: accept and reject exchanged, or another
            option chosen.
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
    """Knows the labels of a pool, and makes the mistakes that it is told to make.

    To the same question it gives the same answer, whoever asks and whenever.

    Args:
        seed: of the mistakes.
    """

    def __init__(self, pool: Sequence[Gold], *, noise: Noise | None = None, seed: int = 0) -> None:
        self._true = {gold.key: gold.true for gold in pool}
        self._noise = noise or Noise()
        self._seed = seed

    def answer(self, task: Task) -> Task:
        """The task with its answer.

        Raises:
            ValueError: it is about nothing in the pool, or asks for no label.
        """
        true = self._true.get(task["_input_hash"])
        if true is None:
            raise ValueError(f"the simulated annotator knows nothing of {show(task)}")
        random = np.random.default_rng([self._seed, task["_task_hash"] + 2**31])
        draw = random.random()
        if draw < self._noise.ignored:
            return {**task, "answer": "ignore"}
        is_wrong = draw < self._noise.ignored + self._noise.flipped
        if "options" in task:
            options = [option["id"] for option in task["options"]]
            return {**task, "accept": _choose(options, true, is_wrong, random), "answer": "accept"}
        if "label" not in task:
            raise ValueError(f"the question about {show(task)} has neither a label nor options")
        is_true = (task["label"] in true) != is_wrong
        return {**task, "answer": "accept" if is_true else "reject"}


def _choose(
    options: list[str], true: frozenset[str], is_wrong: bool, random: np.random.Generator
) -> list[str]:
    chosen = [option for option in options if option in true]
    if not is_wrong:
        return chosen
    if len(chosen) == 1 and len(options) > 1:
        others = [option for option in options if option not in true]
        return [others[int(random.integers(len(others)))]]
    turned = options[int(random.integers(len(options)))]
    return [option for option in options if (option in true) != (option == turned)]
