"""How much memory this process takes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

_STATM = Path("/proc/self/statm")


def resident_bytes() -> int | None:
    """Resident memory: now where Linux tells, else the most so far; None on Windows."""
    if _STATM.exists():
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def gpu_bytes() -> int | None:
    """The most that torch's tensors took so far, on all CUDA devices; None without such."""
    if not torch.cuda.is_initialized():  # asking would initialize them
        return None
    return sum(map(torch.cuda.max_memory_allocated, range(torch.cuda.device_count())))
