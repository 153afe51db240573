"""Words to the rows of their characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from spacy_torch.nn.character_cnn import CharacterBatch


class HashedCharacters:
    """Finds the characters of words; a code point takes the row of its number modulo `rows`.

    Of a word of more than `longest` characters only its beginning and its end are read,
    half of that number each, so that a token of 100,000 characters costs no more than
    others.

    Args:
        rows: how many characters are told apart.
        longest: how many characters of a word are read.
    """

    def __init__(self, rows: int, *, longest: int = 32) -> None:
        for name, size in {"rows": rows, "longest": longest}.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        self.rows = rows
        self.longest = longest

    def __call__(self, words: Sequence[str]) -> CharacterBatch:
        """The characters of each word, in the order of the words."""
        kept = [word if len(word) <= self.longest else self._cut(word) for word in words]
        # Four bytes for each character, whatever it is.
        codes = np.frombuffer("".join(kept).encode("utf-32-le"), dtype="<u4")
        lengths = np.fromiter(map(len, kept), dtype=np.int64, count=len(kept))
        rows = (codes % np.uint32(self.rows)).astype(np.int64) + 1
        return CharacterBatch(torch.from_numpy(rows), torch.from_numpy(lengths))

    def _cut(self, word: str) -> str:
        n_last = self.longest // 2
        return word[: self.longest - n_last] + word[len(word) - n_last :]
