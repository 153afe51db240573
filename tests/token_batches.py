"""Batches for encoder modules, as the features would make them."""

import torch

from spacy_torch.nn.hash_embed import TokenBatch

ROWS = [50, 20]


def make_batch(lengths: list[int], *, n_types: int = 12, vector_width: int = 0) -> TokenBatch:
    """Types are drawn from one vocabulary: the same key means the same rows in all batches."""
    types = torch.randint(100, (n_types,)).unique()
    seeds = types.view(-1, 1, 1) * 7 + torch.arange(8).view(2, 4)
    starts = torch.tensor([0, ROWS[0]]).view(2, 1)
    return TokenBatch(
        rows=seeds % torch.tensor(ROWS).view(2, 1) + starts,
        inverse=torch.randint(len(types), (sum(lengths),)),
        lengths=torch.tensor(lengths, dtype=torch.int64),
        keys=types * 10**15,
        vectors=torch.sin(types.view(-1, 1) * torch.arange(1.0, vector_width + 1))
        if vector_width
        else None,
    )


def split_batch(batch: TokenBatch) -> list[TokenBatch]:
    """Each sequence as a batch of its own."""
    return [
        batch._replace(inverse=types, lengths=torch.tensor([len(types)]))
        for types in batch.inverse.split(batch.lengths.tolist())
    ]
