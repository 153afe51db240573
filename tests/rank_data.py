"""What ranks read and compare before they train."""

from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.training import Corpus

from spacy_torch.distributed import tensors
from spacy_torch.distributed.world import find_world
from spacy_torch.training.same_run import check_same_run
from spacy_torch.training.shards import cut_batches, even_out, shard_corpus


def read_shard(folder: Path, batch_size: int) -> list[list[str]]:
    """The texts of each batch that this rank gets from its share of the files."""
    world = find_world()
    reader = shard_corpus(Corpus(folder), world)
    assert reader is not None
    texts = [eg.text for eg in reader(spacy.blank("en"))]
    batches = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
    return list(even_out(cut_batches(batches, world.size), world))


def find_shard(folder: Path, limit: int) -> bool:
    """Whether the files can be shared out."""
    return shard_corpus(Corpus(folder, limit=limit), find_world()) is not None


def compare_runs(of_ranks: list[tuple[dict[str, Any], dict[str, Any]]]) -> str | None:
    """What `check_same_run` says, each rank having its own config and versions."""
    world = find_world()
    config, versions = of_ranks[world.rank]
    try:
        check_same_run(world, config, versions)
    except ValueError as error:
        return str(error)
    return None


def sum_odd_tensors(bucket_bytes: int, alone_bytes: int) -> tuple[list[Any], int]:
    """Sums of tensors of several types and layouts, as lists, and how many bytes they have."""
    tensors.BUCKET_BYTES, tensors.ALONE_BYTES = bucket_bytes, alone_bytes
    world = find_world()
    factor = world.rank + 1
    given = [
        torch.arange(5.0) * factor,
        torch.ones(2, 3, dtype=torch.float64) * factor,
        torch.arange(6.0).view(2, 3).T * factor,
        torch.zeros(0, 4),
        torch.tensor(1.0) * factor,
        torch.arange(100.0) * factor,
    ]
    n_bytes = tensors.sum_tensors(given, world)
    return [tensor.tolist() for tensor in given], n_bytes
