"""Forked workers after torch has run in the parent process."""

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


def check_process(process: int, device: torch.device | None, *, name: str) -> None:
    """Say what to do where CUDA would only say that it cannot be initialized.

    Args:
        process: the one that a module was put on its device by.
        name: whose module it is.

    Raises:
        RuntimeError: the device is a GPU, and this is a process forked since.
    """
    if device is None or device.type != "cuda" or process == os.getpid():
        return
    raise RuntimeError(
        f"{name}: its module is on the GPU ({device}), which a forked "
        "process cannot use: call nlp.pipe with n_process=1, which is fastest on a GPU, or "
        'set device = "cpu" in the [model.runtime] block, or start the processes with '
        'multiprocessing.set_start_method("spawn")'
    )


def _use_one_thread() -> None:
    torch.set_num_threads(1)
