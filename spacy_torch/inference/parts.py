"""A corpus of annotated documents as numbered `.spacy` files in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab


def part_path(folder: Path, number: int) -> Path:
    """The file of a part, whose name sorts by its number."""
    return folder / f"part-{number:06}.spacy"


def find_parts(folder: Path) -> list[Path]:
    """The files that are there, in the order of the corpus."""
    return sorted(folder.glob("part-*.spacy"))


def read_parts(folder: str | Path, vocab: Vocab) -> Iterator[Doc]:
    """The documents of all files, in the order of the corpus; a file at a time is in memory.

    Raises:
        FileNotFoundError: the folder has no such file.
    """
    parts = find_parts(Path(folder))
    if not parts:
        raise FileNotFoundError(f"there is no part-*.spacy in {Path(folder).absolute()}")
    for path in parts:
        yield from DocBin().from_disk(path).get_docs(vocab)


def check_no_parts(folder: Path) -> None:
    """Refuse a folder whose files would be mixed with new ones.

    Raises:
        FileExistsError: it has parts already.
    """
    parts = find_parts(folder)
    if parts:
        raise FileExistsError(
            f"{folder} has {len(parts)} files already, such as {parts[0].name}, which would be "
            "mixed with the new ones: name another folder, or delete them"
        )
