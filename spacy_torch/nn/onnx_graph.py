"""An ONNX graph as a module: its weights are learned, its operators are torch's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from spacy_torch.nn.onnx_operators import OPERATORS

# From here on softmax, squeeze and the like mean what they do now.
OLDEST_OPSET = 13


class OnnxGraph(nn.Module):
    """Runs the nodes of a graph one after the other.

    Args:
        inputs, outputs: their names.
        nodes: each with its operator, the names of its inputs and outputs, and its attributes.
        tensors: each with its name, type, shape and whether it is learned; zeros at first.
        constants: by name, each with its type, shape and values: shapes, axes and other
            numbers that are part of the structure.

    Raises:
        ValueError: an operator is not among those known here.
    """

    def __init__(
        self,
        *,
        inputs: Sequence[str],
        outputs: Sequence[str],
        nodes: Sequence[tuple[str, Sequence[str], Sequence[str], Mapping[str, Any]]],
        tensors: Sequence[tuple[str, str, Sequence[int], bool]],
        constants: Mapping[str, tuple[str, Sequence[int], Sequence[Any]]],
    ) -> None:
        super().__init__()
        unknown = sorted({operator for operator, *_ in nodes} - OPERATORS.keys())
        if unknown:
            raise ValueError(
                f"the graph has operators that are not known here: {', '.join(unknown)}; known "
                f"are {', '.join(sorted(OPERATORS))}"
            )
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.nodes = [(node[0], node[1], node[2], node[3]) for node in nodes]
        self.names: dict[str, str] = {}
        for number, (name, dtype, shape, is_learned) in enumerate(tensors):
            zeros = torch.zeros(list(shape), dtype=find_type(dtype))
            ours = f"{number}_{re.sub('[^A-Za-z0-9_]', '_', name)}"
            self.names[name] = ours
            if is_learned:
                self.register_parameter(ours, nn.Parameter(zeros))
            else:
                self.register_buffer(ours, zeros)
        # On the CPU whatever the module's device: most are read as numbers.
        self.constants = {
            name: torch.tensor(list(values), dtype=find_type(dtype), device="cpu").reshape(
                list(shape)
            )
            for name, (dtype, shape, values) in constants.items()
        }

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The graph's outputs, or the only one, for inputs by position or by name.

        Raises:
            ValueError: an input is missing, or one is given that the graph does not have.
        """
        given = {**dict(zip(self.inputs, args, strict=False)), **kwargs}
        if len(args) > len(self.inputs) or given.keys() != set(self.inputs):
            found = [f"{len(args)} by position", *sorted(kwargs)]
            raise ValueError(f"the graph takes {self.inputs}, got {', '.join(found)}")
        values: dict[str, Any] = {"": None, **self.constants, **given}
        for name, ours in self.names.items():
            values[name] = getattr(self, ours)
        for operator, inputs, outputs, attributes in self.nodes:
            found = OPERATORS[operator]([values[name] for name in inputs], attributes)
            results = cast("tuple[Any, ...]", found) if isinstance(found, tuple) else (found,)
            # Outputs that nobody asked for need not be there.
            values.update(zip(outputs, results, strict=False))
        outputs = tuple(values[name] for name in self.outputs)
        return outputs[0] if len(outputs) == 1 else outputs


def find_type(name: str) -> torch.dtype:
    """The torch type of a name such as "float32".

    Raises:
        ValueError: there is none.
    """
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"torch has no type {name!r}")
    return dtype
