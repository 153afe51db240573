"""A module's gradients before a step: whether any will come, their norms, which are not finite."""

import contextlib
import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from spacy_torch.bridge.errors import ModuleOutputError
from spacy_torch.bridge.tree import leaves

# One kernel for all tensors on a GPU. `torch.nn.utils.get_total_norm` (torch >= 2.6) calls the
# same function but keeps the norms of the single tensors to itself.
_foreach_norm = cast("Callable[[list[Tensor]], list[Tensor]]", torch._foreach_norm)  # pyright: ignore


@torch.no_grad()
def gradient_norms(parameters: Mapping[str, nn.Parameter]) -> dict[str, float]:
    """The Euclidean norm of every gradient that exists, by parameter name.

    Read once per step (one wait for the device) and used for the finite check, for clipping
    and for logs. Sparse gradients are left with one sorted entry per row: duplicate rows are
    added up here, as the norm and the step both need it.
    """
    values: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        gradient = parameter.grad
        if gradient is None:
            continue
        if gradient.is_sparse:
            parameter.grad = gradient = coalesce_rows(gradient)
            gradient = gradient.values()
        values[name] = gradient
    norms = dict(zip(values, tensor_norms(list(values.values())), strict=True))
    for name, norm in norms.items():
        # The sum of squares of a finite fp32 tensor can overflow from 1e19 on.
        if math.isinf(norm):
            norms[name] = math.sqrt(float(values[name].cpu().double().square().sum()))
    return norms


@contextlib.contextmanager
def all_or_nothing(parameters: Iterable[nn.Parameter]) -> Generator[None, None, None]:
    """Add the gradients of backward passes inside, or none of them where one fails.

    A backward pass that runs out of memory has by then reached some parameters and others not.
    """
    earlier = [(parameter, parameter.grad) for parameter in parameters]
    for parameter, _ in earlier:
        parameter.grad = None
    try:
        yield
    except BaseException:
        for parameter, gradient in earlier:
            parameter.grad = gradient
        raise
    for parameter, gradient in earlier:
        if gradient is not None:
            added = parameter.grad
            parameter.grad = gradient if added is None else gradient + added


def find_non_finite(norms: Mapping[str, float]) -> list[str]:
    """Names of the parameters whose gradient holds a NaN or an infinity."""
    return [name for name, norm in norms.items() if not math.isfinite(norm)]


def check_connected(outputs: Any, module: nn.Module, *, name: str) -> None:
    """Look whether an update would reach the module.

    Args:
        outputs: what the module returned, in any structure.
        name: whose module it is.

    Raises:
        ModuleOutputError: the module has something to learn, but the outputs of an
            update do not depend on it.
    """
    tensors = [leaf for leaf in leaves(outputs) if isinstance(leaf, Tensor)]
    if any(tensor.requires_grad for tensor in tensors) or not torch.is_grad_enabled():
        return
    # What a module gives for documents without tokens may hold no numbers at all.
    has_numbers = any(tensor.is_floating_point() and tensor.numel() for tensor in tensors)
    if has_numbers and any(parameter.requires_grad for parameter in module.parameters()):
        raise ModuleOutputError(
            f"{name}: the module {type(module).__name__} has "
            "parameters to train, but what it returned carries no gradient to them: in "
            "forward(), avoid detach(), .data, .numpy(), torch.no_grad() and one-hot vectors "
            "made by argmax"
        )


def total_norm(norms: Mapping[str, float]) -> float:
    """The norm of all gradients taken as one long vector."""
    return math.sqrt(math.fsum(norm * norm for norm in norms.values()))


def coalesce_rows(gradient: Tensor) -> Tensor:
    """A sparse gradient with each row once, in ascending order.

    An `nn.EmbeddingBag` fed with distinct rows gives such a gradient already without saying
    so; one comparison of neighbours then saves the sort and the copy.
    """
    if gradient.is_coalesced():
        return gradient
    # `indices()` refuses an uncoalesced tensor; the underscored one is what torch's own
    # documentation of sparse tensors points to.
    indices, values = gradient._indices(), gradient._values()
    if gradient.sparse_dim() == 1 and bool((indices[0, 1:] > indices[0, :-1]).all()):
        return torch.sparse_coo_tensor(  # pyright: ignore[reportUnknownMemberType]
            indices, values, gradient.shape, is_coalesced=True, check_invariants=False
        )
    return gradient.coalesce()


def tensor_norms(tensors: Sequence[Tensor]) -> list[float]:
    """The Euclidean norm of each dense tensor, with one wait per device."""
    norms: list[float] = [0.0] * len(tensors)
    places: dict[torch.device, list[int]] = {}
    for place, tensor in enumerate(tensors):
        if tensor.numel():
            places.setdefault(tensor.device, []).append(place)
    for device_places in places.values():
        found = _foreach_norm([_at_least_fp32(tensors[place]) for place in device_places])
        on_cpu = torch.stack(found).cpu().numpy()
        for place, norm in zip(device_places, on_cpu, strict=True):
            norms[place] = float(norm)
    return norms


def _at_least_fp32(tensor: Tensor) -> Tensor:
    """Half precision cannot hold a sum of squares."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
