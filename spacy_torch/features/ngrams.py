"""Documents to the weight rows of their n-grams, hashed as spaCy hashes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc, Span

from spacy_torch.features.token_ids import Ids, attribute_ids, lengths_of, token_ids
from spacy_torch.nn.bag_of_ngrams import NgramBatch

# MurmurHash64A, which spaCy joins the ids of an n-gram with.
_MIX_64 = 0xC6A4A7935BD1E995
_SHIFT_64 = np.uint64(47)


class HashedNgrams:
    """Finds, for each document, the rows of its n-grams in a table.

    The same rows as in `spacy.TextCatBOW.v3` with a table of the same size: every n-gram
    has two, and one that occurs twice counts twice.

    Args:
        rows: the size of the table.
        sizes: how many tokens an n-gram has.
        attr: the token attribute that an n-gram is made of.
    """

    def __init__(
        self, rows: int, *, sizes: Sequence[int] = (1, 2, 3), attr: str | int = "ORTH"
    ) -> None:
        if not sizes or min(sizes) < 1 or len(set(sizes)) != len(sizes):
            raise ValueError(f"sizes must be different numbers from 1 up, got {list(sizes)}")
        self.rows = rows
        self.sizes = tuple(sizes)
        self.attrs = attribute_ids([attr])

    def __call__(self, docs: Sequence[Doc | Span]) -> NgramBatch:
        """Hash the n-grams of a batch; an empty document has none."""
        lengths = lengths_of(docs)
        ids = token_ids(docs, self.attrs).reshape(-1)
        keys, fits = _ngram_keys(ids, lengths, self.sizes)
        hashes = np.stack([_murmur_32(keys[fits], seed) for seed in (0, 1)], axis=1)
        rows, inverse = np.unique(hashes % np.uint32(self.rows), return_inverse=True)
        counts = sum(np.maximum(lengths - (size - 1), 0) for size in self.sizes)
        return NgramBatch(
            rows=torch.from_numpy(rows.astype(np.int64)),
            inverse=torch.from_numpy(inverse.reshape(hashes.shape)),  # ngram, hash
            lengths=torch.from_numpy(counts),
        )


def _ngram_keys(
    ids: Ids, lengths: NDArray[np.int64], sizes: Sequence[int]
) -> tuple[Ids, NDArray[np.bool_]]:
    """For each token and size, the key of the n-gram that starts there, and if it fits."""
    n_tokens = len(ids)
    until_end = np.repeat(lengths.cumsum(), lengths) - np.arange(n_tokens)
    fits = until_end[:, None] >= np.asarray(sizes)
    keys = np.zeros((n_tokens, len(sizes)), dtype=np.uint64)
    mixed = ids * np.uint64(_MIX_64)
    mixed ^= mixed >> _SHIFT_64
    mixed *= np.uint64(_MIX_64)
    for column, size in enumerate(sizes):
        n_starts = max(n_tokens - size + 1, 0)
        keys[:n_starts, column] = (
            ids if size == 1 else _murmur_64(mixed, size=size, n_starts=n_starts)
        )
    return keys, fits


def _murmur_64(mixed: Ids, *, size: int, n_starts: int) -> Ids:
    """MurmurHash64A with seed 0 of every `size` neighbouring ids."""
    n_bytes = 8 * size
    hashes = np.full(n_starts, (n_bytes * _MIX_64) % 2**64, dtype=np.uint64)
    for start in range(size):
        hashes ^= mixed[start : start + n_starts]
        hashes *= np.uint64(_MIX_64)
    hashes ^= hashes >> _SHIFT_64
    hashes *= np.uint64(_MIX_64)
    hashes ^= hashes >> _SHIFT_64
    return hashes


def _murmur_32(keys: Ids, seed: int) -> NDArray[np.uint32]:
    """MurmurHash3_x86_32 of every 8-byte key, as in Thinc's SparseLinear."""
    hashes = np.full(len(keys), seed, dtype=np.uint32)
    for half in (keys & np.uint64(0xFFFFFFFF), keys >> np.uint64(32)):
        block = half.astype(np.uint32)
        block *= np.uint32(0xCC9E2D51)
        block = (block << np.uint32(15)) | (block >> np.uint32(17))
        block *= np.uint32(0x1B873593)
        hashes ^= block
        hashes = (hashes << np.uint32(13)) | (hashes >> np.uint32(19))
        hashes *= np.uint32(5)
        hashes += np.uint32(0xE6546B64)
    hashes ^= np.uint32(8)  # the length of a key in bytes
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        hashes ^= hashes >> np.uint32(shift)
        hashes *= np.uint32(factor)
    hashes ^= hashes >> np.uint32(16)
    return hashes
