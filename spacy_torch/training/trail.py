"""The batches of a training, remembered as checksums, so that other data is noticed."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from spacy.attrs import (
    DEP,
    ENT_IOB,
    ENT_TYPE,
    HEAD,
    LEMMA,
    MORPH,
    ORTH,
    SENT_START,
    SPACY,
    TAG,
)
from spacy.training import Example

from spacy_torch.training.checkpoint import CheckpointError

ATTRIBUTES = [ORTH, SPACY, TAG, MORPH, LEMMA, HEAD, DEP, ENT_IOB, ENT_TYPE, SENT_START]


def checksum(example: Example) -> int:
    """A number that the text and the annotation of an example give, in every process alike."""
    doc = example.reference
    crc = zlib.crc32(doc.to_array(ATTRIBUTES).tobytes())
    if doc.cats:
        crc = zlib.crc32(array("d", doc.cats.values()).tobytes(), crc)
        crc = zlib.crc32(_names_checksum(tuple(doc.cats)), crc)
    for name in sorted(doc.spans):
        spans = [(name, span.start, span.end, span.label_) for span in doc.spans[name]]
        crc = zlib.crc32(repr(spans).encode(), crc)
    return crc


@lru_cache(maxsize=1024)  # the examples of a corpus have the same labels, often many
def _names_checksum(names: tuple[str, ...]) -> bytes:
    return zlib.crc32("\0".join(names).encode()).to_bytes(4, "little")


class Trail:
    """A running checksum of the batches; the order inside a batch does not count.

    Args:
        expected: what an earlier run had after some numbers of batches.
        remembers: whether examples are the same objects in every epoch, which need be looked
            at only once.

    Attributes:
        n_batches: how many there were.
        checksum: of all of them.
    """

    def __init__(
        self, *, expected: Mapping[int, int] | None = None, remembers: bool = False
    ) -> None:
        self.n_batches = 0
        self.checksum = 0
        self.remembers = remembers
        self._marks: dict[int, int] = {}
        self._expected = expected or {}
        self._agreed = 0
        self._known: dict[int, int] = {}
        self._open: int | None = None

    def add(self, batch: Sequence[Example]) -> None:
        """Take in a batch.

        Raises:
            CheckpointError: an earlier run had another one here.
        """
        self.add_part(batch)
        self.end_batch()

    def add_part(self, examples: Iterable[Example]) -> None:
        """Take in some examples of the batch that `end_batch` ends."""
        self._open = (self._open or 0) + sum(map(self._look, examples))

    def end_batch(self) -> None:
        """The next examples belong to another batch; nothing, if there were none since the last.

        Raises:
            CheckpointError: an earlier run had another one here.
        """
        if self._open is None:
            return
        self.checksum = zlib.crc32(self._open.to_bytes(16, "little"), self.checksum)
        self._open = None
        self.n_batches += 1
        if self.n_batches.bit_count() == 1:
            self._marks[self.n_batches] = self.checksum
        expected = self._expected.get(self.n_batches, self.checksum)
        if expected != self.checksum:
            raise CheckpointError(
                "the training data is not that of the checkpoint: the examples of "
                f"[corpora.train], or their order, differ in the batches {self._agreed + 1} to "
                f"{self.n_batches} (checksum {self.checksum}, it was {expected}). Give the corpus "
                "that the run was started with, or start anew without --resume"
            )
        if self.n_batches in self._expected:
            self._agreed = self.n_batches

    def marks(self) -> dict[int, int]:
        """The checksums after 1, 2, 4, 8, ... batches and after the last one."""
        return {**self._marks, self.n_batches: self.checksum}

    def order(self, examples: Iterable[Example]) -> int:
        """A checksum of examples in their order."""
        crc = 0
        for example in examples:
            crc = zlib.crc32(self._look(example).to_bytes(4, "little"), crc)
        return crc

    def _look(self, example: Example) -> int:
        if not self.remembers:
            return checksum(example)
        found = self._known.get(id(example))
        if found is None:
            found = self._known[id(example)] = checksum(example)
        return found
