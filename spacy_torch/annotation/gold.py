"""Texts and images whose labels are known: what a simulated annotator knows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from spacy.tokens import DocBin
from spacy.vocab import Vocab

from spacy_torch.annotation.tasks import Task, read_tasks, set_hashes, show

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gold:
    """Something to ask about, and the truth.

    Attributes:
        task: the text or image alone, with hashes.
        true: the labels that apply; no others do.
    """

    task: Task
    true: frozenset[str]

    @classmethod
    def of(cls, text: str, labels: Iterable[str]) -> Gold:
        """A text with its labels."""
        return cls(set_hashes({"text": text}), frozenset(labels))

    @property
    def key(self) -> int:
        """The same for the same input."""
        return self.task["_input_hash"]


@dataclass(frozen=True)
class GoldData:
    """A pool to ask about and a test that nobody learns from, not even its texts.

    Raises:
        ValueError: there is no pool or no test, an input is in both, or there are fewer than
            two labels where exactly one applies.
    """

    pool: Sequence[Gold]
    test: Sequence[Gold]
    labels: Sequence[str]
    exclusive: bool

    def __post_init__(self) -> None:
        if not self.pool or not self.test:
            raise ValueError(
                f"a simulation needs a pool and a test, got {len(self.pool)} and {len(self.test)} "
                "texts: give more data, or a file for each"
            )
        both = {gold.key for gold in self.pool} & {gold.key for gold in self.test}
        if both:
            shown = next(show(gold.task) for gold in self.test if gold.key in both)
            raise ValueError(
                f"{len(both)} inputs are in the pool and in the test, {shown} among them: leave "
                "them out of one"
            )
        if self.exclusive and len(self.labels) < 2:
            raise ValueError(f"exclusive labels must be at least 2, got {list(self.labels)}")

    @property
    def rarest(self) -> str:
        """The label that the fewest inputs of the pool have."""
        return min(self.labels, key=lambda label: (self.count(label), label))

    def count(self, label: str) -> int:
        """How many inputs of the pool have a label."""
        return sum(label in gold.true for gold in self.pool)


def read_gold(path: str | Path) -> list[Gold]:
    """The texts and labels of a .spacy file (`doc.cats`) or of JSONL.

    A line of JSONL says its labels as "cats" ({"A": 1.0, "B": 0.0}), as "label" (one, or a
    list) or as Prodigy's "accept" (a list). Lines without labels, or with another answer
    than accept, are left out and counted in the log.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: nothing in it has labels.
    """
    path = Path(path)
    if path.suffix == ".spacy":
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path} (looked at {path.resolve()})")
        docs = list(DocBin().from_disk(path).get_docs(Vocab()))
        found = [Gold.of(doc.text, _find_true(doc.cats)) for doc in docs if doc.cats]
        n_read = len(docs)
    else:
        tasks = list(read_tasks(path))
        labels = [_read_labels(task) for task in tasks]
        found = [
            Gold(set_hashes(_input_of(task)), frozenset(true))
            for task, true in zip(tasks, labels, strict=True)
            if true is not None
        ]
        n_read = len(tasks)
    if not found:
        raise ValueError(
            f"{path}: none of its {n_read} records has labels: give .spacy with doc.cats, or JSONL "
            'with "cats", "label" or "accept"'
        )
    if len(found) < n_read:
        logger.warning("%s: %d records have no labels and are left out", path, n_read - len(found))
    return found


def split_gold(
    pool: Sequence[Gold], test: Sequence[Gold] | None = None, *, share: float = 0.3, seed: int = 0
) -> GoldData:
    """A pool and a test, drawn from the pool if none is given.

    Of the same input several times the first counts; what is in the test is taken out of
    the pool.

    Raises:
        ValueError: the share is not between 0 and 1, or see `GoldData`.
    """
    if not 0 < share < 1:
        raise ValueError(f"the share of the test must be between 0 and 1, got {share}")
    pool = list({gold.key: gold for gold in reversed(pool)}.values())[::-1]
    if test is None:
        order = np.random.default_rng(seed).permutation(len(pool)).tolist()
        n_test = round(share * len(pool))
        test = [pool[place] for place in order[:n_test]]
    test = list({gold.key: gold for gold in reversed(test)}.values())[::-1]
    in_test = {gold.key for gold in test}
    pool = [gold for gold in pool if gold.key not in in_test]
    labels = sorted({label for gold in [*pool, *test] for label in gold.true})
    exclusive = all(len(gold.true) == 1 for gold in [*pool, *test])
    return GoldData(pool, test, labels, exclusive and len(labels) > 1)


def _input_of(task: Task) -> Task:
    return {key: task[key] for key in ("text", "image") if task.get(key)}


def _find_true(cats: dict[str, float]) -> list[str]:
    return [label for label, value in cats.items() if value >= 0.5]


def _read_labels(task: Task) -> list[str] | None:
    if task.get("answer", "accept") != "accept":
        return None
    if isinstance(task.get("cats"), dict):
        return _find_true(task["cats"])
    found = task.get("accept", task.get("label"))
    if isinstance(found, str):
        return [found]
    return [str(label) for label in found] if isinstance(found, list) else None
