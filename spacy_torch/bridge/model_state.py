"""Save and restore what a training has made of models, so that it can go on where it was.

Unlike what a pipeline saves, this is neither averaged nor packed by the models themselves, and
holds what they need for nothing but training: the scale of half precision, and which gradients
exist. Thinc's optimizer moves a parameter by its momentum as soon as it has once had a gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy
import torch
from thinc.model import Model
from thinc.shims import PyTorchGradScaler
from thinc.util import get_array_module, xp2torch  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn

from spacy_torch.bridge.building import named_parameters, named_tensors
from spacy_torch.bridge.optimizer_owners import Owners, find_owners
from spacy_torch.bridge.shim import TorchShim
from spacy_torch.bridge.weights import WeightsError, load_weights, read_header, save_weights

FILE_NAME = "models in training"  # what the file says that it holds
_GRADIENT = "gradient:"


def save_models(models: Mapping[str, Model[Any, Any]], path: str | Path) -> str:
    """Write all weights of some models, by component, to a safetensors file.

    Returns:
        A digest of all that was written.

    Raises:
        TypeError: a model is of another library than Thinc and torch.
        OSError: the file cannot be written.
    """
    owners = find_owners(models)
    states = {name: shim.training_state for name, shim in _our_shims(owners).items()}
    tensors = _tensors(owners)
    gradients = _gradients(owners)
    for name, gradient in gradients.items():
        if bool(gradient.any()):  # as a rule the step has made them zeros
            tensors[_GRADIENT + name] = gradient
    info = {"states": states, "gradients": sorted(gradients)}
    return save_weights(tensors, path, name=FILE_NAME, sizes={}, info=info)


def load_models(models: Mapping[str, Model[Any, Any]], path: str | Path) -> None:
    """Put what `save_models` wrote into models of the same structure, in place.

    Raises:
        WeightsError: naming what does not fit.
        OSError: the file cannot be read.
    """
    owners = find_owners(models)
    info = read_header(path).info
    shims = _our_shims(owners)
    if not {"states", "gradients"} <= info.keys() or info["states"].keys() != shims.keys():
        raise WeightsError(
            f"file {path}: it holds the state of the modules {sorted(info.get('states', {}))}, the "
            f"models have {sorted(shims)}: load it into the pipeline that it was saved from"
        )
    _clear_gradients(owners)
    gradients = _new_gradients(owners, info["gradients"])
    for name in info["gradients"]:
        if name not in gradients:
            raise WeightsError(
                f"file {path}: it holds a gradient of {name!r}, which is nothing in these "
                "models: load it into the pipeline that it was saved from"
            )
    tensors = _tensors(owners)
    stored = read_header(path).digests
    tensors.update(
        (_GRADIENT + name, gradient)
        for name, gradient in gradients.items()
        if _GRADIENT + name in stored
    )
    load_weights(path, tensors, name=FILE_NAME)
    for name, state in info["states"].items():
        shims[name].training_state = state


def _our_shims(owners: Owners) -> dict[str, TorchShim]:
    shims = cast("Mapping[str, object]", owners.shims)
    return {name: shim for name, shim in shims.items() if isinstance(shim, TorchShim)}


def _modules(owners: Owners) -> dict[str, nn.Module]:
    """The torch modules behind all shims, ours and Thinc's."""
    found: dict[str, nn.Module] = {}
    for name, shim in owners.shims.items():
        module = shim.module if isinstance(shim, TorchShim) else shim._model
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"the model of {name!r} is a {type(module).__name__} behind a "
                f"{type(shim).__name__}, and only torch modules and Thinc's layers can be saved "
                "in the middle of a training: freeze the component, or train without checkpoints"
            )
        found[name] = module
    return found


def _tensors(owners: Owners) -> dict[str, Tensor]:
    """All weights and buffers by lasting name, sharing memory with the models."""
    tensors = {
        f"torch:{owner}/{name}": tensor.detach()
        for owner, module in _modules(owners).items()
        for name, tensor in named_tensors(module).items()
    }
    for owner, shim in owners.shims.items():
        # That of Thinc's own shim, which adapts it as fp16 needs.
        scaler = getattr(shim, "_grad_scaler", None)
        if isinstance(scaler, PyTorchGradScaler):
            tensors[f"scaler:{owner}/scale"] = scaler._scale  # pyright: ignore[reportPrivateUsage]
            tensors[f"scaler:{owner}/growth_tracker"] = scaler._growth_tracker  # pyright: ignore[reportPrivateUsage]
    for owner, node in owners.nodes.items():
        for name in node.param_names:
            if node.has_param(name):
                tensors[f"thinc:{owner}/{name}"] = _writable(node, name)
    return tensors


def _writable(node: Model[Any, Any], name: str) -> Tensor:
    array: Any = node.get_param(name)
    flags: Any = array.flags  # those of CuPy do not say writeable
    if not getattr(flags, "writeable", True) or not flags.c_contiguous:
        xp: Any = get_array_module(array)
        array = xp.array(array, order="C")
        node.set_param(name, array)
    return _as_tensor(array)


def _gradients(owners: Owners) -> dict[str, Tensor]:
    """The gradients that stay from step to step: those of Thinc, and of its torch shims."""
    found: dict[str, Tensor] = {}
    for owner, node in owners.nodes.items():
        for name in node.param_names:
            if node.has_grad(name):
                found[f"thinc:{owner}/{name}"] = _as_tensor(node.get_grad(name))
    for owner, parameter, name in _foreign_parameters(owners):
        if parameter.grad is not None:
            found[f"torch:{owner}/{name}"] = parameter.grad
    return found


def _clear_gradients(owners: Owners) -> None:
    for module in _modules(owners).values():
        for parameter in module.parameters():
            parameter.grad = None


def _new_gradients(owners: Owners, names: Iterable[str]) -> dict[str, Tensor]:
    """Gradients of zeros for the parameters of these names, as far as there are such."""
    wanted = set(names)
    found: dict[str, Tensor] = {}
    for owner, node in owners.nodes.items():
        for name in node.param_names:
            lasting = f"thinc:{owner}/{name}"
            if lasting in wanted and node.has_param(name):
                xp: Any = get_array_module(node.get_param(name))
                node.set_grad(name, xp.zeros_like(node.get_param(name)))
                found[lasting] = _as_tensor(node.get_grad(name))
    for owner, parameter, name in _foreign_parameters(owners):
        if f"torch:{owner}/{name}" in wanted:
            parameter.grad = torch.zeros_like(parameter)
            found[f"torch:{owner}/{name}"] = parameter.grad
    return found


def _foreign_parameters(owners: Owners) -> list[tuple[str, nn.Parameter, str]]:
    return [
        (owner, parameter, name)
        for owner, module in _modules(owners).items()
        if not isinstance(owners.shims[owner], TorchShim)
        for name, parameter in named_parameters(module).items()
    ]


def _as_tensor(array: Any) -> Tensor:
    if isinstance(array, numpy.ndarray):  # shared, wherever torch's new tensors go
        return torch.from_numpy(cast(Any, array))  # pyright: ignore[reportUnknownMemberType]
    return xp2torch(array).detach()
