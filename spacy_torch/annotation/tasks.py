"""Tasks: what an annotator is asked and what came back, in the JSON form that Prodigy uses."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

Task = dict[str, Any]
Answer = Literal["accept", "reject", "ignore"]
ANSWERS: tuple[Answer, ...] = ("accept", "reject", "ignore")

# What makes two tasks be about the same thing, and what makes them the same question about it.
# A score or a rank says what a model thought, and is no part of either.
INPUT_KEYS = ("text", "image", "html", "input")
QUESTION_KEYS = ("spans", "label", "options", "arcs")
IGNORED_KEYS = frozenset(
    {"score", "rank", "model", "source", "pattern", "priority", "path", "answer"}
)

logger = logging.getLogger(__name__)


def set_hashes(task: Task, *, overwrite: bool = False) -> Task:
    """The task with `_input_hash` and `_task_hash`, as far as it has none.

    Two questions about one input share the first and differ in the second. The numbers
    are our own; those that Prodigy has set are kept.
    """
    hashed = dict(task)
    if overwrite or "_input_hash" not in task:
        hashed["_input_hash"] = _hash([task.get(key) for key in INPUT_KEYS])
    if overwrite or "_task_hash" not in task:
        question = [_without_ignored(task.get(key)) for key in QUESTION_KEYS]
        hashed["_task_hash"] = _hash([hashed["_input_hash"], question])
    return hashed


def check_answer(task: Task) -> Answer:
    """The answer in a task that came back.

    Raises:
        ValueError: there is none, or it is none of accept, reject and ignore.
    """
    answer = task.get("answer")
    if answer not in ANSWERS:
        raise ValueError(
            f"the answer of a task must be one of {list(ANSWERS)}, got {answer!r} in {show(task)}"
        )
    return answer


def read_tasks(path: str | Path) -> Iterator[Task]:
    """The tasks of a JSONL file; a line that cannot be used is named in the log and left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not one line of it can be used.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path} (looked for it at {path.resolve()}): give the path of a "
            'JSONL file with one {"text": ...} or {"image": ...} per line'
        )
    n_lines = n_tasks = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            n_lines += 1
            try:
                task = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                check_input(task)
            except (ValueError, RecursionError) as error:
                logger.warning("%s, line %d is left out: %s", path, number, error)
                continue
            n_tasks += 1
            yield task
    if n_lines and not n_tasks:
        raise ValueError(
            f"{path}: none of its {n_lines} lines can be used; the log says why for each: every "
            'line must be a JSON object with a "text" or an "image"'
        )


def check_input(task: Any) -> None:
    """Raise a `ValueError` for what is no task: an object with a text or an image."""
    if not isinstance(task, dict):
        raise ValueError(f"expected a JSON object, got {str(task)[:60]!r}")
    if not any(isinstance(task.get(key), str) and task[key] for key in ("text", "image")):
        raise ValueError(f'it has neither a "text" nor an "image": {show(task)}')
    try:
        json.dumps(task, ensure_ascii=False).encode("utf8")
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise ValueError(f"it has half a character, {half!r}, that cannot be saved") from error


def content_of(task: Task) -> tuple[Any, ...]:
    """What a task is about; equal of two tasks whose hashes come from different tools."""
    return tuple(task.get(key) for key in INPUT_KEYS)


def distinct(tasks: Iterable[Task]) -> list[Task]:
    """Tasks with hashes, those about an input that came before left out."""
    found: dict[int, Task] = {}
    for task in map(set_hashes, tasks):
        found.setdefault(task["_input_hash"], task)
    return list(found.values())


def show(task: Task) -> str:
    """The beginning of what a task is about, for a message."""
    text = next((str(task[key]) for key in INPUT_KEYS if task.get(key)), str(task))
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def _without_ignored(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_ignored(item) for key, item in value.items() if key not in IGNORED_KEYS
        }
    if isinstance(value, list):
        return [_without_ignored(item) for item in value]
    return value


def _hash(value: Any) -> int:
    """A number of 32 bits with a sign, as Prodigy's are."""
    data = json.dumps(value, sort_keys=True, ensure_ascii=False).encode("utf8")
    digest = hashlib.blake2b(data, digest_size=4).digest()
    return int.from_bytes(digest, "little", signed=True)
