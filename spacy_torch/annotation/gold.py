"""Texts and images whose labels are known: what a simulated annotator knows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab

from spacy_torch.annotation.box_questions import read_places
from spacy_torch.annotation.span_questions import read_marks
from spacy_torch.annotation.span_subject import read_annotated
from spacy_torch.annotation.subject import Truth
from spacy_torch.annotation.tasks import Task, read_tasks, set_hashes, show

_NAMES = {"classes": "labels", "spans": "spans", "boxes": "boxes"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gold:
    """Something to ask about, and the truth.

    Attributes:
        task: the text or image alone, with hashes.
        true: the labels that apply, or the marks that are there, each with its `label`; no
            others do.
    """

    task: Task
    true: Truth

    @classmethod
    def of(cls, text: str, labels: Iterable[str]) -> Gold:
        """A text with its labels."""
        return cls(set_hashes({"text": text}), frozenset(labels))

    @property
    def labels(self) -> frozenset[str]:
        """The labels that apply, or those of the marks."""
        return frozenset(one if isinstance(one, str) else one.label for one in self.true)

    @property
    def key(self) -> int:
        """The same for the same input."""
        return self.task["_input_hash"]


@dataclass(frozen=True)
class GoldData:
    """A pool to ask about and a test that nobody learns from, not even its texts.

    Attributes:
        exclusive: exactly one label applies to each input.
        subject: what the truth is about, a name of `SUBJECTS`.

    Raises:
        ValueError: there is no pool or no test, an input is in both, or there are fewer than
            two labels where exactly one applies.
    """

    pool: Sequence[Gold]
    test: Sequence[Gold]
    labels: Sequence[str]
    exclusive: bool
    subject: str = "classes"

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
        return sum(label in gold.labels for gold in self.pool)


def read_gold(
    path: str | Path, *, subject: str = "classes", group: str | None = None
) -> list[Gold]:
    """What is true of texts, from a .spacy file or JSONL.

    Classes are the `doc.cats` of a .spacy file. A line of JSONL says them as "cats"
    ({"A": 1.0, "B": 0.0}), as "label" (one, or a list) or as Prodigy's "accept" (a list).
    Spans are the `doc.ents`, or those of a group of `doc.spans`, or Prodigy's "spans" of a
    line. Boxes are the "spans" of a line of JSONL with an "image", all that there are. Lines
    that do not say it, or with another answer than accept, are left out and counted in the log.

    Args:
        subject: classes, spans or boxes.
        group: of `doc.spans`; None for `doc.ents`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: nothing in it has annotations.
    """
    path = Path(path)
    if path.suffix == ".spacy":
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path} (looked at {path.resolve()})")
        docs = list(DocBin().from_disk(path).get_docs(Vocab()))
        tasks: list[Task] = [{"text": doc.text} for doc in docs]
        true = [_read_doc(doc, subject, group) for doc in docs]
    else:
        tasks = list(read_tasks(path))
        read = {"classes": _read_labels, "spans": _read_spans, "boxes": _read_boxes}[subject]
        true = [read(task) for task in tasks]
    found = [
        Gold(set_hashes(_input_of(task)), one)
        for task, one in zip(tasks, true, strict=True)
        if one is not None
    ]
    if not found:
        wanted = {
            "classes": '.spacy with doc.cats, or JSONL with "cats", "label" or "accept"',
            "spans": f".spacy with {'doc.ents' if group is None else f'doc.spans[{group!r}]'}, or "
            'JSONL with "spans"',
            "boxes": 'JSONL with an "image" and all of its boxes as "spans"',
        }[subject]
        raise ValueError(
            f"{path}: none of its {len(tasks)} records has {_NAMES[subject]}: give {wanted}"
        )
    if len(found) < len(tasks):
        n_left = len(tasks) - len(found)
        logger.warning("%s: %d records have no %s and are left out", path, n_left, _NAMES[subject])
    return found


def split_gold(
    pool: Sequence[Gold],
    test: Sequence[Gold] | None = None,
    *,
    share: float = 0.3,
    seed: int = 0,
    subject: str = "classes",
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
    golds = [*pool, *test]
    labels = sorted({label for gold in golds for label in gold.labels})
    exclusive = subject == "classes" and all(len(gold.true) == 1 for gold in golds)
    return GoldData(pool, test, labels, exclusive and len(labels) > 1, subject)


def _input_of(task: Task) -> Task:
    return {key: task[key] for key in ("text", "image") if task.get(key)}


def _read_doc(doc: Doc, subject: str, group: str | None) -> Truth | None:
    if subject == "boxes":
        return None
    if subject == "classes":
        return _find_true(doc.cats) if doc.cats else None
    is_marked = group in doc.spans if group is not None else doc.has_annotation("ENT_IOB")
    return read_annotated(doc, group) if is_marked else None


def _find_true(cats: dict[str, float]) -> Truth:
    return frozenset(label for label, value in cats.items() if value >= 0.5)


def _read_labels(task: Task) -> Truth | None:
    if task.get("answer", "accept") != "accept":
        return None
    if isinstance(task.get("cats"), dict):
        return _find_true(task["cats"])
    found = task.get("accept", task.get("label"))
    if isinstance(found, str):
        return frozenset([found])
    return frozenset(str(label) for label in found) if isinstance(found, list) else None


def _read_spans(task: Task) -> Truth | None:
    if task.get("answer", "accept") != "accept" or not isinstance(task.get("spans"), list):
        return None
    return frozenset(read_marks(task))


def _read_boxes(task: Task) -> Truth | None:
    """All boxes of a picture: of an answer about one box, what else there is stays unknown."""
    is_drawn = isinstance(task.get("spans"), list) and task.get("image")
    if task.get("answer", "accept") != "accept" or not is_drawn or task.get("_view_id") == "image":
        return None
    return frozenset(read_places(task))
