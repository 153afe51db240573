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

    A line that a crash or a full disk cut short is left out when reading, and cut off before
    more is written. Two answers to the same question: the later one counts.

    Args:
        path: the file; made, with its folders, when there is something to write. None
            keeps everything in memory.

    Attributes:
        answers: the tasks as they were answered, by their `_task_hash`, in the order in
            which they were answered last.
        pending: questions that were asked last and not answered yet.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = Path(path) if path is not None else None
        self.answers: dict[int, Task] = {}
        self.pending: dict[int, Task] = {}
        self._by_input: dict[int, dict[int, Task]] = {}
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
        last = next(reversed(self.answers), None)
        return None if last is None else self.take_back(last)

    def take_back(self, task_hash: int) -> Task:
        """Take the answer to a question back and return its task without it.

        Raises:
            ValueError: it is not answered; nothing is written then.
        """
        self._check_answered(task_hash)
        self._append([{UNDONE: task_hash}])
        return self._note_undone(task_hash)

    def of_input(self, input_hash: int) -> list[Task]:
        """All answered tasks about one input, in the order of `answers`."""
        return list(self._by_input.get(input_hash, {}).values())

    def _append(self, records: list[Task]) -> None:
        if self.path is None or not records:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        if self._end is not None:
            os.truncate(self.path, self._end)
            self._end = None
        with self.path.open("ab") as file:
            end = file.tell()
            try:
                file.write(lines.encode("utf8"))
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                self._end = end  # a part of it may be there, as on a full disk
                raise

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
            self._remove(self.answers[key])  # given again, it is the last one
        self.answers[key] = task
        self._by_input.setdefault(task["_input_hash"], {})[key] = task
        self.pending.pop(key, None)

    def _note_undone(self, key: int) -> Task:
        self._check_answered(key)
        task = self.answers[key]
        self._remove(task)
        unanswered = {
            name: value for name, value in task.items() if name not in ("answer", "accept")
        }
        self.pending = {key: unanswered, **self.pending}
        return unanswered

    def _check_answered(self, key: int) -> None:
        if key not in self.answers:
            raise ValueError(f"there is no answer with the hash {key!r} to take back")

    def _remove(self, task: Task) -> None:
        del self.answers[task["_task_hash"]]
        of_input = self._by_input[task["_input_hash"]]
        del of_input[task["_task_hash"]]
        if not of_input:
            del self._by_input[task["_input_hash"]]
