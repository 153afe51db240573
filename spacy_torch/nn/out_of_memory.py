"""Try what may need more memory than there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

PartT = TypeVar("PartT")
ResultT = TypeVar("ResultT")


def run_if_it_fits(
    function: Callable[[PartT], ResultT], part: PartT, *, n_items: int
) -> list[ResultT]:
    """The function's result as the only one of a list, which is empty if memory ran out.

    What the failed attempt has taken is free again then, and the part is to be run in halves.

    Args:
        n_items: of the part. One alone cannot be split: its error is raised, as others are.
    """
    try:
        return [function(part)]
    except RuntimeError as error:
        if not is_out_of_memory(error) or n_items == 1:
            raise
    # Only here it can be freed: the error that held it is gone.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return []


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch found no memory, on whatever device."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        part in message for part in ("out of memory", "not enough memory")
    )
