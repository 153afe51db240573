"""A training in a CSV file: one row for each evaluation, also across a resumed run."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from itertools import count
from pathlib import Path

Row = Mapping[str, object]


class CsvLog:
    """Appends rows to a file.

    A run that begins at step 0 begins a new file; an older one is kept beside it, under the
    next free name (`log.1.csv`). A run that begins later has been resumed: the older file is
    gone on with, without the rows of steps that are now made again.

    Raises:
        ValueError: the file holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []
        self._has_begun = False
        if path.exists():
            _read(path)  # or say so before the first step and not after it
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, row: Row) -> None:
        """Add a row, which must have a "step"; a column that is new is empty in those before."""
        rows: list[Row] = []
        if not self._has_begun and self.path.exists():
            rows = self._take_over(int(str(row["step"])))
        elif self._has_begun and not row.keys() <= {*self._columns}:
            rows = _read(self.path)
        if self._has_begun and not rows:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, self._columns, restval="").writerow(row)
            return
        self._has_begun = True
        self._columns = list(dict.fromkeys(name for each in (*rows, row) for name in each))
        unfinished = self.path.with_name(f"{self.path.name}.unfinished")
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self._columns, restval="")
            writer.writeheader()
            writer.writerows((*rows, row))
        unfinished.replace(self.path)

    def _take_over(self, step: int) -> list[Row]:
        if step == 0:
            kept = (self.path.with_suffix(f".{n}{self.path.suffix}") for n in count(1))
            self.path.rename(next(path for path in kept if not path.exists()))
            return []
        return [row for row in _read(self.path) if int(str(row["step"])) < step]


def _read(path: Path) -> list[Row]:
    """The rows of a log, without one that was not written to its end."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames is not None and "step" not in reader.fieldnames:
            raise ValueError(
                f"{path} is not a log of a training: its first line has no column 'step' but "
                f"{', '.join(reader.fieldnames)!r:.80}: name another file"
            )
        rows = list(reader)
    return [row for row in rows if None not in row.values() and (row["step"] or "").isdigit()]
