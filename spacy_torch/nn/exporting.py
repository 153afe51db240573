"""Whether torch is tracing a module into a graph that others will run."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch


def is_exporting() -> bool:
    """Whether `torch.export` is running; torch before 2.7 cannot tell, and we do not export."""
    tell = cast("Callable[[], bool] | None", getattr(torch.compiler, "is_exporting", None))
    return tell is not None and tell()
