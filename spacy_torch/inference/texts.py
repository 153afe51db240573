"""The records of a file of texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spacy.tokens import DocBin
from spacy.vocab import Vocab

from spacy_torch.training.lines import read_jsonl, read_lines


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a `.jsonl` file, the documents of a `.spacy` one, or the lines of text.

    A line that is not blank is a record with its number as "line". The documents of a `.spacy`
    file are all in memory, as it is read as a whole.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not UTF-8 or, in a `.jsonl` file, no JSON object; it is named.
    """
    if path.suffix == ".jsonl":
        for _, record in read_jsonl(path):
            yield record
    elif path.suffix == ".spacy":
        for doc in DocBin().from_disk(path).get_docs(Vocab()):
            yield {"doc": doc.to_bytes()}
    else:
        for number, line in read_lines(path):
            if line.strip():
                yield {"line": number, "text": line.rstrip("\r\n")}
