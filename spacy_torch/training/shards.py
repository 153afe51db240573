"""What each rank learns from: its files of a streamed corpus, or its part of every batch."""

from __future__ import annotations

import copy
import heapq
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from spacy.language import Language
from spacy.training import Corpus, Example
from spacy.training.corpus import FILE_TYPE, walk_corpus
from spacy.util import logger

from spacy_torch.distributed.tensors import gather_tensor
from spacy_torch.distributed.world import World

T = TypeVar("T")

Reader = Callable[[Language], Iterable[Example]]


def shard_corpus(reader: Reader, world: World) -> Reader | None:
    """A reader of this rank's share of the files.

    Returns:
        None where there are no files to share out: for other readers than spaCy's
        `spacy.Corpus.v1`, with a limit, and with fewer files than ranks. All ranks then
        read everything, and take examples of their own from each batch.
    """
    if world.size == 1 or not isinstance(reader, Corpus) or reader.limit or reader.path is None:
        return None
    n_files = len(walk_corpus(reader.path, FILE_TYPE))
    if len(set(world.gather(n_files))) > 1 or n_files < world.size:
        return None
    sharded = copy.copy(reader)
    sharded.read_docbin = partial(_read_share, reader.read_docbin, world)  # type: ignore[method-assign]
    logger.info("Rank %d reads its share of the %d files in %s", world.rank, n_files, reader.path)
    return sharded


def _read_share(
    read: Callable[..., Iterator[Any]], world: World, vocab: Any, files: Iterable[Path]
) -> Iterator[Any]:
    by_size = sorted(files, key=lambda file: (-file.stat().st_size, str(file)))
    return read(vocab, sorted(by_size[world.rank :: world.size]))


def even_out(batches: Iterable[list[T]], world: World) -> Iterator[list[T]]:
    """As many batches on every rank as on the one with most; those that one lacks are empty.

    All ranks must take the next one together.
    """
    if world.size == 1:
        yield from batches
        return
    remaining = iter(batches)
    while True:
        batch = next(remaining, None)
        if not gather_tensor(torch.tensor([batch is not None]), world).any():
            return
        yield [] if batch is None else batch


def cut_batches(batches: Iterable[Iterable[T]], n: int) -> Iterator[list[T]]:
    """Each batch in `n` parts, one after another, so that those of `n` ranks make one batch."""
    for batch in batches:
        examples = list(batch)
        yield from (part for start in range(n) if (part := examples[start::n]))


def share_out(examples: Iterable[Example], n: int) -> list[list[Example]]:
    """A batch in `n` parts with about as many words each, as all ranks wait for the slowest.

    The longest examples are given out first, each to the part with least so far (Graham 1969,
    https://doi.org/10.1137/0117039); an example counts as a word more than it has.
    """
    parts: list[list[Example]] = [[] for _ in range(n)]
    loads = [(0, place) for place in range(n)]
    for example in sorted(examples, key=_n_words, reverse=True):
        load, place = loads[0]
        parts[place].append(example)
        heapq.heapreplace(loads, (load + _n_words(example) + 1, place))
    return parts


def _n_words(example: Example) -> int:
    return len(example.predicted)
