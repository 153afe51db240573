"""A function run by several processes at once that form one process group, with gloo."""

import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from torch import distributed

SECONDS = 100.0

# A server that has imported what takes long, and that each process is forked from: no thread
# of this process, and no lock that one holds, gets into a rank.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["spacy.cli", "torch.distributed", "tiny_textcat"])


class RankError(AssertionError):
    """What a rank raised, with its traceback."""


def run_ranks(work: Callable[..., Any], size: int, *args: Any, **settings: str) -> list[Any]:
    """What `work(*args)` returns on each rank of a group of `size`.

    Args:
        work: a function of a module in tests/, as it is called by name.
        settings: environment variables of every rank. With MASTER_PORT, the ranks are left to
            find each other by that.

    Raises:
        RankError: a rank raised something, ended without a word, or took too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        ranks = [_start(work, rank, size, Path(folder) / "store", args, settings)
                 for rank in range(size)]  # fmt: skip
        try:
            return _collect(ranks)
        finally:
            for process, answers in ranks:
                process.kill()
                process.join()
                answers.close()


@contextmanager
def as_group(rank: int, size: int, store: Path):
    """Be a member of a group whose members meet in a file."""
    distributed.init_process_group(
        "gloo",
        init_method=store.as_uri(),
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=SECONDS / 2),
    )
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _start(work, rank, size, store, args, settings):
    here, there = _processes.Pipe(duplex=False)
    names = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), **settings}
    process = _processes.Process(
        target=_be_rank, args=(work, rank, size, store, args, names, there), daemon=True
    )
    process.start()
    there.close()
    return process, here


def _be_rank(work, rank, size, store, args, names, answers) -> None:
    os.environ.update(names)
    torch.set_num_threads(1)
    try:
        if size == 1 or "MASTER_PORT" in names:
            answer = work(*args)
        else:
            with as_group(rank, size, store):
                answer = work(*args)
    except BaseException:
        answers.send((traceback.format_exc(), None))
    else:
        answers.send((None, answer))


def _collect(ranks: list[tuple[Any, Connection]]) -> list[Any]:
    waiting = {answers: rank for rank, (_, answers) in enumerate(ranks)}
    found: dict[int, Any] = {}
    while waiting:
        ready = wait(list(waiting), timeout=SECONDS)
        if not ready:
            raise RankError(f"ranks {sorted(waiting.values())} gave no answer in {SECONDS} s")
        for answers in ready:
            rank = waiting.pop(answers)
            try:
                error, found[rank] = answers.recv()
            except EOFError as ended:
                raise RankError(f"rank {rank} ended without a word") from ended
            if error is not None:
                raise RankError(f"rank {rank}: {error}")
    return [found[rank] for rank in range(len(ranks))]
