"""The processes that train together: how many there are, which one this is, what they tell."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

T = TypeVar("T")

# Seconds. An evaluation or a checkpoint of one rank is waited for by all others.
TIMEOUT = 1800.0


class NotTogetherError(ValueError):
    """Processes that cannot train one pipeline; the message says why and what to do."""


@dataclass(frozen=True)
class World:
    """All processes of a training, called ranks; by default this one alone.

    Every rank must call the same methods in the same order. One rank alone talks to nobody.

    Attributes:
        rank: the number of this process, from 0.
        size: how many there are.
        talk: the process group for Python objects, on CPUs; None for the default group.
    """

    rank: int = 0
    size: int = 1
    talk: Any = field(default=None, repr=False, compare=False)

    def broadcast(self, value: T) -> T:
        """The picklable value of rank 0, on every rank; what others pass is ignored."""
        if self.size == 1:
            return value
        values: list[Any] = [value if self.rank == 0 else None]
        distributed.broadcast_object_list(values, src=0, group=self.talk)
        return values[0]

    def gather(self, value: T) -> list[T]:
        """The picklable values of all ranks in the order of the ranks, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, group=self.talk)
        return values

    def collect(self, value: T) -> list[T] | None:
        """The picklable values of all ranks in the order of the ranks, on rank 0 only."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = None if self.rank else [None] * self.size
        distributed.gather_object(value, values, dst=0, group=self.talk)
        return values


def find_world(*, timeout: float = TIMEOUT) -> World:
    """The world that this process belongs to, joined if it was not yet.

    One that it joined, it leaves when it ends, or with `leave_world` before that.

    That is the process group that exists (Ray Train and Spark's `TorchDistributor` make one),
    or the one that the variables RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT describe
    (`torchrun` sets them); else, or if it has one member, `World()`. With GPUs, a process that
    joins also takes the one of its LOCAL_RANK.

    Args:
        timeout: seconds that a rank waits for the others before it fails.

    Raises:
        ValueError: WORLD_SIZE says that there are others, and RANK is missing or not below it,
            or torch was built without collectives.
        ConnectionError: the ranks do not find each other.
    """
    if not distributed.is_available():
        if _number("WORLD_SIZE", os.environ, missing=1) > 1:
            raise ValueError(
                "WORLD_SIZE is above 1, but this torch was built without torch.distributed: "
                "install another build, or train with one process"
            )
        return World()
    if not distributed.is_initialized():
        size = _number("WORLD_SIZE", os.environ, missing=1)
        if size == 1:
            return World()
        rank = _number("RANK", os.environ, missing=-1)
        if not 0 <= rank < size:
            raise ValueError(
                f"WORLD_SIZE is {size}, so RANK must be 0 to {size - 1}, got "
                f"{os.environ.get('RANK')!r}: start the processes with torchrun, or unset both"
            )
        _join(rank, size, timeout=timedelta(seconds=timeout))
    if distributed.get_world_size() == 1:
        return World()
    return World(distributed.get_rank(), distributed.get_world_size(), _find_talk(timeout))


def leave_world(*, has_failed: bool = False) -> None:
    """End the process group, if there is one.

    After a failure a group with GPUs is left to the operating system: it might wait for the
    others.
    """
    if not distributed.is_available() or not distributed.is_initialized():
        return
    if not has_failed or "nccl" not in str(distributed.get_backend_config()):
        distributed.destroy_process_group()


def _join(rank: int, size: int, *, timeout: timedelta) -> None:
    backend = "gloo"
    if torch.cuda.is_available():
        place = _number("LOCAL_RANK", os.environ, missing=rank)
        n_gpus = torch.cuda.device_count()
        torch.cuda.set_device(place % n_gpus)
        # NCCL refuses two processes on one GPU; gloo copies through the memory of the machine.
        is_shared = _number("LOCAL_WORLD_SIZE", os.environ, missing=size) > n_gpus
        if distributed.is_nccl_available() and not is_shared:
            backend = "cpu:gloo,cuda:nccl"
    try:
        store, _, _ = next(rendezvous("env://", rank, size, timeout=timeout))
        attempt = _find_attempt(os.environ)
        if attempt is not None:
            store = PrefixStore(f"attempt {attempt}", store)
        distributed.init_process_group(
            backend, store=store, rank=rank, world_size=size, timeout=timeout
        )
    except (distributed.DistError, RuntimeError, ValueError) as error:
        raise ConnectionError(_explain(error, rank=rank, size=size)) from error
    # The threads of a group that still exists may abort the interpreter when it ends. Whether
    # that is after a failure, nobody says here.
    atexit.register(leave_world, has_failed=True)


def _find_attempt(environment: Mapping[str, str]) -> str | None:
    """Which start of the ranks this is, where torchrun started all of them on one machine.

    The static rendezvous keeps its store over a restart, and with it the addresses of the
    dead, for which the new ranks wait for ever. Several machines count restarts each for
    themselves (pytorch issue 108158), so there the number would keep them apart: they need
    the rendezvous "c10d", which makes a store for each start.
    """
    if environment.get("GROUP_WORLD_SIZE") != "1":
        return None
    return environment.get("TORCHELASTIC_RESTART_COUNT")


def _find_talk(timeout: float) -> Any:
    """The group for objects: the default one if it has gloo, else one beside it."""
    if "gloo" in str(distributed.get_backend_config()):
        return None
    return distributed.new_group(backend="gloo", timeout=timedelta(seconds=timeout))


def _explain(error: Exception, *, rank: int, size: int) -> str:
    address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    if "EADDRINUSE" in str(error) or "already in use" in str(error):
        return (
            f"rank {rank} of {size} could not listen on {address}: the port is in use by another "
            "process. Set MASTER_PORT to a free one, or start with torchrun --standalone, which "
            "finds one"
        )
    return (
        f"rank {rank} of {size} found no way to the others at {address}: {error}. Look whether "
        "all ranks were started, and whether MASTER_ADDR and MASTER_PORT are those of rank 0"
    )


def _number(name: str, environment: Mapping[str, str], *, missing: int) -> int:
    given = environment.get(name)
    if given is None:
        return missing
    try:
        return int(given)
    except ValueError as error:
        raise ValueError(
            f"the variable {name} must be a number, got {given!r}: start the processes with "
            "torchrun, which sets it, or unset it"
        ) from error
