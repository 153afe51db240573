"""Tell memory that ran out from other errors."""

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch found no memory, on whatever device."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        part in message for part in ("out of memory", "not enough memory")
    )
