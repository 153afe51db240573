"""Make forked workers usable after torch has run in the parent process."""

from __future__ import annotations

import functools
import os

import torch


@functools.lru_cache(maxsize=1)
def guard_forks() -> None:
    """Give every process forked from now on a single torch thread.

    The OpenMP threads of the parent do not exist in a forked child, which then waits
    for them for ever: `nlp.pipe(n_process=2)` hung (explosion/spaCy issue 4667).
    Registered once, when the first module is wrapped, never at import.
    """
    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(after_in_child=_use_one_thread)


def _use_one_thread() -> None:
    torch.set_num_threads(1)
