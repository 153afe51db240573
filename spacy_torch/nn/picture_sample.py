"""A few of many pictures, drawn at random while they pass by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import UInt8


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
        raise ValueError(
            "there are no pictures to learn from: look whether the pool, or the training corpus, "
            "is empty"
        )
    return kept
