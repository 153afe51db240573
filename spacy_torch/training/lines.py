"""The lines of a text file with their numbers, so that an error can name one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers from 1 and lines; decoded one by one, so that an error can say which.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not UTF-8.
    """
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        where = "" if path.is_absolute() else f" (relative to the working directory {Path.cwd()})"
        raise FileNotFoundError(
            f'path = "{path}": {path.absolute()} {what}{where}; set it to a file in the reader\'s '
            "block of [corpora], or with --paths.train and the like where it is ${paths.train}"
        )
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                # Spreadsheet programs open a UTF-8 file with a byte order mark.
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path}, line {number}: byte {error.start + 1} is not UTF-8; "
                    f"save the file in UTF-8"
                ) from error


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and the object on each line that is not blank.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not UTF-8, no JSON, or no object.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not valid JSON: {error}") from error
        if not isinstance(record, dict):
            raise ValueError(f"{path}, line {number}: expected a JSON object, got {line.strip()}")
        yield number, record
