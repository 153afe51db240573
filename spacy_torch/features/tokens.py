"""Documents to hashed attributes, static vectors and characters, once per distinct token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.attrs import ORTH
from spacy.tokens import Doc, Span
from spacy.vectors import Mode, Vectors
from thinc.api import NumpyOps

from spacy_torch.features.characters import HashedCharacters
from spacy_torch.features.token_ids import Ids, attribute_ids, lengths_of, token_ids
from spacy_torch.nn.hash_embed import TokenBatch

# spaCy's MultiHashEmbed seeds its first table with this, the next with one more.
FIRST_SEED = 8
_OPS = NumpyOps()


class HashedTokens:
    """Finds the distinct tokens of a batch and the table rows of their attributes.

    The same rows as in `spacy.MultiHashEmbed.v2`.

    Args:
        attrs: the token attributes, such as "NORM" or "SHAPE".
        rows: the size of each attribute's table.
        static_vectors: also give each token's vector from the vocabulary of the first
            document.
        characters: also give each token's characters, found by this.
    """

    def __init__(
        self,
        attrs: Sequence[str | int],
        rows: Sequence[int],
        *,
        static_vectors: bool = False,
        characters: HashedCharacters | None = None,
    ) -> None:
        if len(attrs) != len(rows):
            raise ValueError(
                f"attrs and rows must have the same length, got {len(attrs)} attrs and "
                f"{len(rows)} rows"
            )
        self.attrs = attribute_ids(attrs)
        self.rows = list(rows)
        self.static_vectors = static_vectors
        self.characters = characters

    def __call__(self, docs: Sequence[Doc | Span]) -> TokenBatch:
        """Hash the tokens of a batch.

        Raises:
            ValueError: vectors are asked for and the vocabulary has none.
        """
        # Two words may share all attributes, and yet have other vectors or characters.
        of_vectors = [_vectors_attr(docs)] if self.static_vectors else []
        of_characters = [ORTH] if self.characters is not None else []
        attrs = [*self.attrs, *of_characters, *of_vectors]
        columns = np.ascontiguousarray(token_ids(docs, attrs).T)  # attr, token
        keys, first, inverse = np.unique(_join(columns), return_index=True, return_inverse=True)
        types = columns[:, first]  # attr, type
        rows = np.empty((len(keys), len(self.rows), 4), dtype=np.int64)
        start = 0
        for index, n_rows in enumerate(self.rows):
            hashes = _OPS.hash(np.ascontiguousarray(types[index]), FIRST_SEED + index)
            rows[:, index] = hashes % np.uint32(n_rows) + np.uint32(start)
            start += n_rows
        vectors = None
        if self.static_vectors:
            vectors = _static_vectors(docs, types[-1])
            keys = _join(np.stack([keys, _fingerprints(vectors)]))
            vectors = torch.from_numpy(vectors)
        characters = None
        if self.characters is not None:
            characters = self.characters(_read_words(docs, types[len(self.attrs)]))
        return TokenBatch(
            rows=torch.from_numpy(rows),
            inverse=torch.from_numpy(inverse.reshape(-1)),
            lengths=torch.from_numpy(lengths_of(docs)),
            keys=torch.from_numpy(keys.view(np.int64)),
            vectors=vectors,
            characters=characters,
        )


def vectors_width(docs: Sequence[Doc | Span]) -> int:
    """The size of the static vectors in the vocabulary of the first document, 0 for none."""
    return int(docs[0].vocab.vectors.shape[1]) if docs else 0


def _join(columns: Ids) -> Ids:
    """A 64-bit hash of each column's values, so that different ones almost never share it."""
    keys = columns[0].copy()
    for column in columns[1:]:
        keys ^= keys >> np.uint64(29)
        keys *= np.uint64(0x9E3779B97F4A7C15)
        keys += column
    return keys


def _vectors_attr(docs: Sequence[Doc | Span]) -> int:
    return getattr(docs[0].vocab.vectors, "attr", ORTH) if docs else ORTH


def _read_words(docs: Sequence[Doc | Span], ids: Ids) -> list[str]:
    strings = docs[0].vocab.strings if docs else None
    return [strings[number] for number in ids.tolist()] if strings is not None else []


def _static_vectors(docs: Sequence[Doc | Span], ids: Ids) -> NDArray[np.float32]:
    """The vector of each id, zeros where the table has none."""
    width = vectors_width(docs)
    if not len(ids):
        return np.zeros((0, width), dtype=np.float32)
    vectors: Any = docs[0].vocab.vectors
    if not width:
        raise ValueError(
            "static_vectors is set, but the vocabulary has no vectors: use a pipeline with "
            "vectors or name one in [initialize.vectors]"
        )
    if isinstance(vectors, Vectors) and vectors.mode == Mode.default:
        rows = _OPS.asarray1i(vectors.find(keys=ids.tolist()))
        found = _to_numpy(vectors.data[rows])
        found[rows < 0] = 0.0
        return found
    return _to_numpy(vectors.get_batch(ids.tolist()))


def _to_numpy(array: Any) -> NDArray[np.float32]:
    on_cpu = array.get() if hasattr(array, "get") else array  # a CuPy array
    return np.ascontiguousarray(on_cpu, dtype=np.float32)


def _fingerprints(vectors: NDArray[np.float32]) -> Ids:
    """A number per vector that changes with it, so that nothing outlives a changed table."""
    probe = np.sin(np.arange(1, vectors.shape[1] + 1)).astype(np.float32)
    return (vectors @ probe).view(np.uint32).astype(np.uint64)
