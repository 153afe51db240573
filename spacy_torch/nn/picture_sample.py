"""A few of many pictures, drawn at random while they pass by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from spacy_torch.nn.picture_batch import PictureBatch

if TYPE_CHECKING:
    from jaxtyping import UInt8

NO_PICTURES = (
    "there are no pictures to learn from: look whether the pool, or the training corpus, is empty"
)


def sample_pictures(
    batches: Iterable[UInt8[Tensor, "batch 3 height width"]],
    n_pictures: int,
    *,
    generator: torch.Generator,
) -> UInt8[Tensor, "picture 3 height width"]:
    """As many pictures of a stream, each with the same chance; all where there are fewer.

    Raises:
        ValueError: there are none.
    """
    kept: Tensor | None = None
    draws = torch.empty(0)
    for batch in batches:
        pictures = batch if kept is None else torch.cat([kept, batch])
        draws = torch.cat([draws, torch.rand(len(batch), generator=generator)])
        # Whose numbers are largest are a sample of all that have been seen.
        draws, places = draws.topk(min(n_pictures, len(draws)))
        kept = pictures[places.to(pictures.device)]
    if kept is None or not len(kept):
        raise ValueError(NO_PICTURES)
    return kept


def read_sample(
    batches: Iterable[PictureBatch], n_pictures: int, *, generator: torch.Generator
) -> UInt8[Tensor, "picture 3 side side"]:
    """The same of batches that are not decoded yet; only what is drawn will be.

    Raises:
        ValueError: there are no pictures.
    """
    kept = list(batches)
    n_all = sum(len(batch.keys) for batch in kept)
    drawn = torch.randperm(n_all, generator=generator)[:n_pictures].sort().values
    if not len(drawn):
        raise ValueError(NO_PICTURES)
    parts: list[Tensor] = []
    start = 0
    for batch in kept:
        places = drawn - start
        places = places[(places >= 0) & (places < len(batch.keys))]
        if len(places):
            chosen = cast("list[int]", places.tolist())  # pyright: ignore[reportUnknownMemberType]
            parts.append(batch.read(chosen).to(batch.keys.device))
        start += len(batch.keys)
    return torch.cat(parts)
