"""Annotate a bag of Dask, on workers that load the pipeline once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spacy_torch.inference.annotator import Annotator, Written
from spacy_torch.inference.parts import check_no_parts, part_path

if TYPE_CHECKING:
    import dask.bag  # pyright: ignore[reportMissingImports]


def annotate_bag(bag: dask.bag.Bag, annotator: Annotator) -> dask.bag.Bag:
    """The bag of rows (`Annotator.stream`), computed when it is consumed, in order.

    It is shared out by partitions. With a `dask.distributed.Client`, the partition of a worker
    that dies is done again, three times at most (`distributed.scheduler.allowed-failures`);
    Dask's own pool of processes ends with the first.

    Args:
        bag: of texts, bytes of Docs, or records, as `Annotator.stream` takes them.
        annotator: what annotates.
    """
    return bag.map_partitions(annotator)


def write_bag(bag: dask.bag.Bag, annotator: Annotator, folder: str | Path) -> dask.bag.Bag:
    """A bag of what was written (`Annotator.write`): each partition becomes a `.spacy` file.

    Its worker writes it when the bag is computed, and one that takes its place writes the same
    file.

    Raises:
        FileExistsError: the folder has such files already.
    """
    import dask.bag  # pyright: ignore[reportMissingImports]

    folder = Path(folder).absolute()
    check_no_parts(folder)
    numbers = dask.bag.from_sequence(range(bag.npartitions), npartitions=bag.npartitions)
    return bag.map_partitions(_write, numbers, annotator=annotator, folder=folder)


def _write(
    texts: Iterable[Any], numbers: Iterable[int], *, annotator: Annotator, folder: Path
) -> list[Written]:
    (number,) = numbers
    return [annotator.write(texts, part_path(folder, number))]
