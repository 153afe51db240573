"""Names for optimizer state that mean the same in the next process.

Thinc counts nodes and shims up through the life of a process, so its keys say nothing to
another one. Here a parameter is called by its component, the place of its node in
`model.walk()`, the place of the shim in that node, and its own name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from thinc.api import get_current_ops
from thinc.backends import NumpyOps  # pyright: ignore[reportUnknownVariableType]
from thinc.model import Model
from thinc.optimizers import Optimizer
from torch import nn

from spacy_torch.bridge.keys import is_array_key, is_parameter_key
from spacy_torch.bridge.packed_state import PackedState, unpack_arrays, unpack_tensors

_FOREIGN = "thinc-torch"


@dataclass(frozen=True)
class Owners:
    """The nodes and shims of some models, by lasting name and by id."""

    nodes: Mapping[str, Model[Any, Any]]
    shims: Mapping[str, Any]
    node_names: Mapping[int, str]
    shim_names: Mapping[int, str]

    def name_of(self, key: object) -> str | None:
        """A lasting name for an optimizer's key; None if it is nothing of these models."""
        if is_parameter_key(key) or is_array_key(key):
            kind, shim_id, name = key
            owner = self.shim_names.get(shim_id)
            return None if owner is None else f"{kind}:{owner}/{name}"
        # Thinc's keys of its nodes and of its torch shims look alike, and are counted apart.
        owner_id, name = cast(tuple[int, str], key)
        owner = self.node_names.get(owner_id)
        if owner is not None and name in self.nodes[owner].param_names:
            return f"thinc:{owner}/{name}"
        owner = self.shim_names.get(owner_id)
        if owner is not None and name in self._parameters(owner):
            return f"{_FOREIGN}:{owner}/{name}"
        return None

    def key_of(self, lasting_name: str) -> Any:
        """The key in this process for a lasting name.

        Raises:
            ValueError: the models have no such node or shim.
        """
        kind, owner, name = _parts(lasting_name)
        if kind == "thinc" and owner in self.nodes:
            return self.nodes[owner].id, name
        if kind == _FOREIGN and owner in self.shims:
            return self.shims[owner].id, name
        if kind not in ("thinc", _FOREIGN) and owner in self.shims:
            return kind, self.shims[owner].id, name
        known = ", ".join((*self.shims, *self.nodes)) or "none"
        raise ValueError(
            f"the saved state of {lasting_name!r} belongs to nothing in these models; they "
            f"have {known}: load it into the pipeline that it was saved from"
        )

    def shape_of(self, lasting_name: str) -> tuple[int, ...]:
        """The shape of the parameter as it is now.

        Raises:
            ValueError: its module or node has no such parameter.
        """
        kind, owner, name = _parts(lasting_name)
        if kind == "thinc":
            node = self.nodes[owner]
            if name in node.param_names and node.has_param(name):
                return tuple(node.get_param(name).shape)
        else:
            parameters = self._parameters(owner)
            if name in parameters:
                return tuple(parameters[name].shape)
        raise ValueError(
            f"the saved state of {lasting_name!r} belongs to no parameter: {owner} has none "
            f"called {name!r}"
        )

    def _parameters(self, owner: str) -> dict[str, Any]:
        shim = self.shims[owner]
        module = getattr(shim, "module", None) or getattr(shim, "_model", None)
        return dict(module.named_parameters()) if isinstance(module, nn.Module) else {}

    def unpack(self, optimizer: Optimizer, lasting_name: str, key: Any, state: PackedState) -> None:
        """Install a state under its key in this process, on its parameter's device."""
        owner = _parts(lasting_name)[1]
        if is_parameter_key(key):
            parameter = next(iter(self.shims[owner].module.parameters()))
            unpack_tensors(optimizer, key, state, device=parameter.device)
        elif is_array_key(key):
            unpack_arrays(optimizer, key, state, ops=cast(Any, NumpyOps()))
        elif owner not in self.nodes:  # a shim of Thinc's
            unpack_arrays(optimizer, key, state, ops=get_current_ops())
        else:
            unpack_arrays(optimizer, key, state, ops=self.nodes[owner].ops)


def find_owners(models: Mapping[str, Model[Any, Any]]) -> Owners:
    """Everything with parameters in the models; what two of them share counts for the first."""
    nodes: dict[str, Model[Any, Any]] = {}
    shims: dict[str, Any] = {}
    node_names: dict[int, str] = {}
    shim_names: dict[int, str] = {}
    for component, model in models.items():
        walked = cast("Iterable[Model[Any, Any]]", model.walk())  # pyright: ignore[reportUnknownMemberType]
        for place, node in enumerate(walked):
            if node.id in node_names:
                continue
            node_names[node.id] = f"{component}/{place}"
            nodes[f"{component}/{place}"] = node
            for shim_place, shim in enumerate(node.shims):
                if shim.id not in shim_names:
                    shim_names[shim.id] = f"{component}/{place}/{shim_place}"
                    shims[f"{component}/{place}/{shim_place}"] = shim
    return Owners(nodes=nodes, shims=shims, node_names=node_names, shim_names=shim_names)


def _parts(lasting_name: str) -> tuple[str, str, str]:
    kind, _, rest = lasting_name.partition(":")
    owner, _, name = rest.rpartition("/")
    return kind, owner, name
