"""What was asked and answered, written down before anything is done with it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spacy_torch.annotation.tasks import Task, check_answer, set_hashes

logger = logging.getLogger(__name__)

# Bookkeeping in the same file: other tools read the file as a dataset, and skip these lines.
ASKED, UNDONE = "_asked", "_undone"


class Journal:
    """A JSONL file that only grows: a line per answer, on the disk before `write` returns.

    A line that a crash cut short is left out when reading, and cut off before more is
    written. Two answers to the same question: the later one counts.

    Args:
        path: the file; made, with its folders, when there is something to write. None
            keeps everything in memory.

    Attributes:
        answers: the tasks as they were answered, by their `_task_hash`, in the order of
            the first time.
        pending: questions that were asked last and not answered yet.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = Path(path) if path is not None else None
        self.answers: dict[int, Task] = {}
        self.pending: dict[int, Task] = {}
        self._order: list[int] = []  # of the answers as they came, for undoing
        self._end: int | None = None  # of the last whole line, if the file has a torn one
        if self.path is not None and self.path.exists():
            self._read(self.path)

    def __len__(self) -> int:
        return len(self.answers)

    def ask(self, tasks: Iterable[Task]) -> None:
        """Note which questions are on the table, so that a restart asks them again."""
        tasks = list(tasks)
        self._append([{ASKED: tasks}])
        self._note_asked(tasks)

    def write(self, tasks: Iterable[Task]) -> None:
        """Note answers.

        Raises:
            ValueError: a task has no answer; nothing is written then.
        """
        tasks = list(tasks)
        for task in tasks:
            check_answer(task)
        self._append(tasks)
        for task in tasks:
            self._note_answer(task)

    def undo(self) -> Task | None:
        """Take the last answer back and return its task without it; None if there is none."""
        if not self._order:
            return None
        task = self.answers[self._order[-1]]
        self._append([{UNDONE: task["_task_hash"]}])
        return self._note_undone(task["_task_hash"])

    def of_input(self, input_hash: int) -> list[Task]:
        """All answered tasks about one input."""
        return [task for task in self.answers.values() if task["_input_hash"] == input_hash]

    def _append(self, records: list[Task]) -> None:
        if self.path is None or not records:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        if self._end is not None:
            os.truncate(self.path, self._end)
            self._end = None
        with self.path.open("ab") as file:
            file.write(lines.encode("utf8"))
            file.flush()
            os.fsync(file.fileno())

    def _read(self, path: Path) -> None:
        end = 0
        for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
            if not line.endswith(b"\n"):
                # Whole or not, no answer that was confirmed: `write` had not returned.
                logger.warning("%s, line %d was cut short by a crash: left out", path, number)
                self._end = end
                break
            end += len(line)
            try:
                self._note(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                logger.warning("%s, line %d is left out: %s", path, number, error)

    def _note(self, record: Any) -> None:
        if not isinstance(record, dict):
            raise ValueError(f"expected a JSON object, got {str(record)[:60]!r}")
        if ASKED in record:
            self._note_asked(record[ASKED])
        elif UNDONE in record:
            self._note_undone(record[UNDONE])
        else:
            check_answer(record)
            self._note_answer(set_hashes(record))

    def _note_asked(self, tasks: list[Task]) -> None:
        self.pending = {task["_task_hash"]: task for task in tasks}

    def _note_answer(self, task: Task) -> None:
        key = task["_task_hash"]
        if key in self.answers:
            self._order.remove(key)
        self.answers[key] = task
        self._order.append(key)
        self.pending.pop(key, None)

    def _note_undone(self, key: int) -> Task:
        self._order.remove(key)
        task = self.answers.pop(key)
        unanswered = {
            name: value for name, value in task.items() if name not in ("answer", "accept")
        }
        self.pending = {key: unanswered, **self.pending}
        return unanswered
