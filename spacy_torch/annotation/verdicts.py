"""What several answers about the marks in one input, spans or boxes, say together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from spacy_torch.annotation.tasks import Task

Mark = TypeVar("Mark", bound=Hashable)

# The interfaces in which all marks are drawn: what is not marked is known not to be there.
WHOLE_VIEWS = frozenset({"ner_manual", "spans_manual", "image_manual"})


@dataclass(frozen=True)
class Verdicts(Generic[Mark]):
    """What is known of an input.

    Attributes:
        accepted: marks that are there.
        rejected: marks that are not, by themselves; what else is there stays open.
        complete: everything that is not accepted is known not to be there.
    """

    accepted: list[Mark]
    rejected: list[Mark]
    complete: bool


def is_whole(task: Task) -> bool:
    """Whether the annotator was asked for all marks, and not whether one is right."""
    return task.get("_view_id") in WHOLE_VIEWS


def merge_verdicts(
    tasks: Sequence[Task],
    read: Callable[[Task], list[Mark]],
    *,
    clash: Callable[[Mark, Mark], bool],
) -> Verdicts[Mark] | None:
    """Put answers together, in the order in which they came; None if they say nothing.

    The later answer counts: a complete annotation replaces all that was said before it, a
    yes takes the place of accepted marks that cannot be there beside it, and a no takes back
    a yes. A complete annotation that was rejected says nothing, as it does not say what is
    wrong, and neither does a no to several marks at once.

    Args:
        read: the marks of a task.
        clash: whether only one of two marks can be there; true of equal ones.
    """
    accepted: list[Mark] = []
    rejected: list[Mark] = []
    complete = False
    for task in tasks:
        if task["answer"] == "ignore":
            continue
        marks = list(dict.fromkeys(read(task)))
        is_yes = task["answer"] == "accept"
        if is_whole(task):
            if not is_yes:
                continue
            accepted, rejected, complete = [], [], True
        if is_yes:
            for mark in marks:
                accepted = [other for other in accepted if not clash(other, mark)]
                accepted.append(mark)
            rejected = [mark for mark in rejected if mark not in accepted]
        elif len(marks) == 1:
            accepted = [mark for mark in accepted if mark != marks[0]]
            rejected = [mark for mark in rejected if mark != marks[0]] + marks
    return Verdicts(accepted, rejected, complete) if accepted or rejected or complete else None
