"""Tensors of all ranks brought together: added up in place, side by side, or those of rank 0."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from spacy_torch.distributed.world import World

# Large enough that the cost of a message is that of its bytes, small enough that the first
# ones travel while others are still being packed.
BUCKET_BYTES = 25 * 2**20
# From this size on a tensor travels alone, which saves two copies.
ALONE_BYTES = 2**20


def sum_tensors(tensors: Sequence[Tensor], world: World) -> int:
    """Replace each tensor by its sum over the ranks, in place; how many bytes that were.

    All ranks pass tensors of the same shapes and types in the same order. They travel
    in flat buckets, all of them at once.
    """
    started = [_start(bucket, world, distributed.all_reduce) for bucket in _fill_buckets(tensors)]
    for finish in started:
        finish()
    return sum(tensor.nbytes for tensor in tensors)


def broadcast_tensors(tensors: Sequence[Tensor], world: World) -> None:
    """Replace each tensor by that of rank 0, in place."""
    for bucket in _fill_buckets(tensors):
        _start(bucket, world, _broadcast)()


def gather_tensor(tensor: Tensor, world: World) -> Tensor:
    """The tensors of all ranks, which have one shape, as rows of one on the CPU."""
    found = [torch.empty_like(tensor, device="cpu") for _ in range(world.size)]
    distributed.all_gather(found, tensor.cpu(), group=world.talk)
    return torch.stack(found)


def _fill_buckets(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Small tensors of one device and type together, large ones alone.

    Only sizes decide, not layouts, which may differ between ranks.
    """
    closed: list[list[Tensor]] = []
    filling: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        if not tensor.numel():
            continue
        if tensor.nbytes >= ALONE_BYTES:
            closed.append([tensor])
            continue
        kind = tensor.device, tensor.dtype
        bucket = filling.setdefault(kind, [])
        if bucket and sum(one.nbytes for one in bucket) + tensor.nbytes > BUCKET_BYTES:
            closed.append(bucket)
            filling[kind] = bucket = []
        bucket.append(tensor)
    return closed + [bucket for bucket in filling.values() if bucket]


def _start(
    bucket: Sequence[Tensor], world: World, collective: Callable[..., Any]
) -> Callable[[], None]:
    """Begin a collective on a bucket; what is returned waits for it and unpacks."""
    device = bucket[0].device
    is_flat = len(bucket) == 1 and bucket[0].is_contiguous() and device.type != "mps"
    flat = bucket[0] if is_flat else torch.cat([tensor.reshape(-1) for tensor in bucket])
    if device.type == "mps":  # which no process group knows
        flat = flat.cpu()
    group = world.talk if flat.device.type == "cpu" else None
    work = collective(flat, group=group, async_op=True)

    def finish() -> None:
        work.wait()
        if is_flat:
            return
        parts = flat.to(device).split([tensor.numel() for tensor in bucket])
        for tensor, part in zip(bucket, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    return finish


def _broadcast(flat: Tensor, **settings: Any) -> Any:
    return distributed.broadcast(flat, src=0, **settings)
