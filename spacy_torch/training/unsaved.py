"""What is saved of a pipeline that is not to be saved."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from spacy.language import Language


class Unsaved(Language):
    """What spaCy saves in place of a pipeline that is not to be saved: an empty directory."""

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Make the directory."""
        Path(path).mkdir(parents=True, exist_ok=True)
