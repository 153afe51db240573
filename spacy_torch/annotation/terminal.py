"""Annotating in a terminal: a question, a line that answers it, and the next question."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from spacy_torch.annotation.active import ActiveLearner, Settings
from spacy_torch.annotation.box_questions import to_span
from spacy_torch.annotation.journal import Journal
from spacy_torch.annotation.kinds import Kind
from spacy_torch.annotation.one_session import hold_dataset
from spacy_torch.annotation.pipelines import find_saved, state_of, usable
from spacy_torch.annotation.session import open_session
from spacy_torch.annotation.tasks import Task, read_tasks
from spacy_torch.features.boxes import Box

HELP = """\
a  accept: yes, or what is marked is right
r  reject: no
i  ignore: learn nothing from it, ask about something else
u  undo the last answer, and ask again
q  quit; the same command goes on from here
Choices are answered by their numbers, such as 2, or 1 3 for several, or 0 for none. Spans are
marked by the numbers of their tokens, such as: 0-1 PERSON, 4 PLACE. Boxes are drawn by left edge,
top, width and height in pixels, such as: CELL 10 20 64 48, CELL 90 20 60 50"""
ANSWERS = {"a": "accept", "r": "reject", "i": "ignore"}
# Where a session has nothing to ask from the start.
COLD = """\
The model finds nothing to ask about yet: show it a few first, with --kind manual and the same
dataset, and then go on with this command"""
_SPAN = re.compile(r"(\d+)(?:-(\d+))? +(\S.*)")


def teach(
    source: str,
    pool_path: Path,
    dataset: Path,
    *,
    lines: TextIO,
    write: Callable[[str], Any],
    component: str | None = None,
    kind: Kind | None = None,
    labels: Sequence[str] = (),
    blank: str = "textcat",
    strategy: str = "Margin",
    settings: Settings | None = None,
    background: bool = True,
    save_every: int = 50,
    draw: Callable[[Task], None] | None = None,
) -> ActiveLearner:
    """Ask in a terminal until there is nothing left, or the annotator quits.

    Every answer is a line of the dataset before the model hears of it. The pipeline is saved
    beside it (`answers.model` for `answers.jsonl`) at the end and every so many answers; from
    there the next session goes on, or where there is none, from the source and the dataset.
    Without the dataset all begins anew.

    Args:
        source: see `open_questions`; not looked at where a pipeline was saved.
        lines: what the annotator types, as `sys.stdin` gives it; its end is a "q".
        write: shows a line of text.
        draw: shows the picture that a task is about.

    Raises:
        OSError, ValueError: the session cannot begin.
        RuntimeError: another session writes to the dataset.
    """
    state = state_of(dataset, pool_path)
    pool = list(usable(read_tasks(pool_path)))
    with hold_dataset(dataset):
        saved = find_saved(state) if dataset.exists() else None
        journal = Journal(dataset)
        learner = open_session(
            saved or source,
            pool,
            journal=journal,
            component=component,
            kind=kind,
            labels=labels,
            blank=blank,
            strategy=strategy,
            settings=settings or Settings(batch=5),
            background=background,
        )
        if saved is not None:
            write(f"Going on with the pipeline in {saved}, and {len(journal)} answers")
        try:
            write("Answer with a, r, i, u, q, or h for help")
            for n_answered in converse(learner, lines, write, draw):
                if n_answered % save_every == 0:
                    learner.save(state)
        finally:
            learner.close()
        learner.save(state)
    write(f"{len(journal)} answers: {dataset}")
    write(f"The pipeline that has learned them: {state}")
    return learner


def converse(
    learner: ActiveLearner,
    lines: TextIO,
    write: Callable[[str], Any],
    draw: Callable[[Task], None] | None,
) -> Iterator[int]:
    """Ask, and yield after each answer how many were given."""
    n_answered = 0
    while tasks := learner.ask():
        task = tasks[0]
        write(_describe_progress(learner))
        write(show_task(task))
        if draw is not None:
            draw(task)
        line = lines.readline()
        command = line.strip()
        if not line or command == "q":
            return
        if command == "u":
            write("Undone" if learner.undo() is not None else "There is nothing to undo")
            continue
        if command in ("h", "?", "help"):
            write(HELP)
            continue
        try:
            learner.receive([read_answer(command, task)])
        except ValueError as error:
            write(f"Not understood: {error}")
            continue
        n_answered += 1
        yield n_answered
    is_cold = learner.progress().n_left == len(learner.pool)
    write(COLD if is_cold else "There is nothing left to ask")


def read_answer(line: str, task: Task) -> Task:
    """The task as a line answers it.

    Raises:
        ValueError: it is no answer to this question.
    """
    is_open = "options" in task and "accept" not in task  # nothing is chosen yet
    if line in ANSWERS and not (line == "a" and is_open):
        return {**task, "answer": ANSWERS[line]}
    if "options" in task:
        return {**task, "answer": "accept", "accept": _read_numbers(line, task)}
    if "tokens" in task:
        return {**task, "answer": "accept", "spans": _read_spans(line, task)}
    if task.get("_view_id") == "image_manual":
        return {**task, "answer": "accept", "spans": _read_boxes(line)}
    raise ValueError(f"answer with a, r, i, u, q or h, got {line!r}")


def show_task(task: Task) -> str:
    """A task as lines of text."""
    spans = task.get("spans") or []
    if "image" in task:
        shown = [str(task.get("path", task["image"]))[:200]]
        shown += [
            f"  {span['label']}: {span['width']} x {span['height']} at {span['x']}, {span['y']}"
            for span in spans
        ]
    else:
        shown = [_mark(task["text"], spans)]
    if "tokens" in task:
        shown.append(" ".join(f"{token['id']}:{token['text']}" for token in task["tokens"]))
    if "options" in task:
        options = enumerate(task["options"], start=1)
        chosen = task.get("accept", ())
        shown.append("  ".join(f"{n} {o['text']}{'*' * (o['id'] in chosen)}" for n, o in options))
    elif task.get("label"):
        shown.append(f"{task['label']}?")
    return "\n".join(shown)


def _mark(text: str, spans: Sequence[dict[str, Any]]) -> str:
    """The text with its spans in brackets."""
    marks = [(span["end"], 0, f": {span['label']}]") for span in spans]
    marks += [(span["start"], 1, "[") for span in spans]
    for place, _, mark in sorted(marks, reverse=True):
        text = f"{text[:place]}{mark}{text[place:]}"
    return text


def _describe_progress(learner: ActiveLearner) -> str:
    progress = learner.progress()
    shown = f"-- {progress.n_answers} answered, {progress.n_left} left"
    if progress.accuracy is not None:
        shown += f"; {progress.accuracy:.0%} of {progress.n_random} random ones foretold"
    return shown


def _read_numbers(line: str, task: Task) -> list[str]:
    numbers = line.replace(",", " ").split()
    n_options = len(task["options"])
    wrong = [
        n for n in numbers if not n.isascii() or not n.isdigit() or not 1 <= int(n) <= n_options
    ]
    if numbers == ["0"]:
        return []
    if wrong or not numbers:
        raise ValueError(
            f"answer with numbers from 1 to {n_options}, or a, r, i, u, q or h, got {line!r}"
        )
    return [task["options"][int(number) - 1]["id"] for number in dict.fromkeys(numbers)]


def _read_spans(line: str, task: Task) -> list[dict[str, Any]]:
    spans: list[dict[str, Any]] = []
    tokens = task["tokens"]
    for part in line.split(","):
        found = _SPAN.fullmatch(part.strip())
        first = int(found[1]) if found else 0
        last = int(found[2] or found[1]) if found else -1
        if found is None or not first <= last < len(tokens):
            raise ValueError(
                f"a span is the numbers of its first and last token and its label, such as 0-1 "
                f"PERSON, with tokens up to {len(tokens) - 1}, got {part.strip()!r}"
            )
        spans.append(
            {
                "start": tokens[first]["start"],
                "end": tokens[last]["end"],
                "token_start": first,
                "token_end": last,
                "label": found[3],
            }
        )
    return spans


def _read_boxes(line: str) -> list[dict[str, Any]]:
    spans: list[dict[str, Any]] = []
    for part in line.split(","):
        label, *sides = part.rsplit(maxsplit=4) if part.strip() else [""]
        try:
            box = Box(label.strip(), *map(float, sides))
        except (TypeError, ValueError) as error:
            raise ValueError(
                "a box is its label, left edge, top, width and height in pixels, such as "
                f"CELL 10 20 64 48, got {part.strip()!r}"
            ) from error
        spans.append(to_span(box))
    return spans
