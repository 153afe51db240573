"""Weights that are the same on every rank, from the first step on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from thinc.api import Model
from thinc.util import torch2xp, xp2torch
from torch import Tensor

from spacy_torch.distributed.gradients import modules_of, walk
from spacy_torch.distributed.tensors import broadcast_tensors
from spacy_torch.distributed.world import NotTogetherError, World


@torch.no_grad()
def share_weights(models: Iterable[Model[Any, Any]], world: World) -> bool:
    """Give every rank the parameters and buffers of rank 0; whether any rank had others.

    Digests are compared first, as the same seed makes the same weights.

    Raises:
        NotTogetherError: the models of a rank have other parameters, or others shapes, than
            those of rank 0.
    """
    if world.size == 1:
        return False
    models = list(models)
    digests = world.gather(digest_weights(models))
    if len(set(digests)) == 1:
        return False
    shapes = world.gather([tuple(tensor.shape) for tensor in _read(models)])
    for rank, of_rank in enumerate(shapes):
        if of_rank != shapes[0]:
            raise NotTogetherError(
                f"rank {rank} has weights of other shapes than rank 0 ({_count(of_rank)} and "
                f"{_count(shapes[0])} in all): initialize all ranks from the same config and data"
            )
    tensors = list(_read(models))
    broadcast_tensors(tensors, world)
    _write(models, tensors)
    return True


def digest_weights(models: Iterable[Model[Any, Any]]) -> str:
    """A digest of all parameters and buffers, in order."""
    digest = hashlib.sha256()
    for tensor in _read(models):
        array = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(array.numpy().data)
    return digest.hexdigest()


def _read(models: Iterable[Model[Any, Any]]) -> Iterator[Tensor]:
    for model in models:
        for node in walk(model):
            for module in modules_of(node):
                yield from module.parameters()
                yield from module.buffers()
            for name in node.param_names:
                if node.has_param(name):
                    yield xp2torch(node.get_param(name).copy())


def _write(models: Iterable[Model[Any, Any]], tensors: Iterable[Tensor]) -> None:
    """Put copies of Thinc's parameters back; those of modules were changed in place."""
    remaining = iter(tensors)
    for model in models:
        for node in walk(model):
            for module in modules_of(node):
                for tensor in (*module.parameters(), *module.buffers()):
                    next(remaining)
                    torch.autograd.graph.increment_version(tensor)
            for name in node.param_names:
                if node.has_param(name):
                    array: Any = torch2xp(next(remaining), ops=node.ops)
                    node.set_param(name, array)


def _count(shapes: Iterable[tuple[int, ...]]) -> int:
    return sum(torch.Size(shape).numel() for shape in shapes)
