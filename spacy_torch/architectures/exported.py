"""`spacy-torch.Exported.v1`: a model whose torch modules were exported, for prediction only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, NoReturn, TypeVar

from thinc.api import Model
from torch import nn

from spacy_torch.architectures.exported_graph import put_graphs
from spacy_torch.bridge.building import ModuleBuilder, build_sized
from spacy_torch.bridge.model import find_wrapped
from spacy_torch.bridge.shim import TorchShim
from spacy_torch.nn.int8_conversion import round_layers

InT = TypeVar("InT")
OutT = TypeVar("OutT")

Format = Literal["int8", "onnx", "torch.export"]


def build_exported(model: Model[InT, OutT], *, format: Format) -> Model[InT, OutT]:
    """The model of a component as `torch-export` left it.

    Each torch module in it is built from what was exported, and its weights are stored in
    that form. It predicts on a CPU and cannot be trained, initialized or given new labels.

    Args:
        model: the model that was exported, as its config describes it.
        format: "int8": large matrices of 8-bit integers; "onnx": a graph that ONNX Runtime
            runs; "torch.export": a program of torch's.
    """
    for node in find_wrapped(model):
        shim: Any = node.shims[0]
        node.shims[0] = make_exported_shim(shim, format)
        node.attrs["measure"] = _refuse_initialization
    for node in model.walk():
        if node.has_ref("logits"):
            node.attrs["resize_output"] = _refuse_labels
    return model


def make_exported_shim(shim: TorchShim, format: Format) -> TorchShim:
    """A shim for what was exported of another one's module, not built yet."""
    runtime = replace(shim.runtime, device="cpu", precision="fp32")
    name = f"{shim.name}, {format}"
    return TorchShim(partial(_BUILDERS[format], shim.build), name=name, runtime=runtime)


def build_int8(build: ModuleBuilder, *, exported: Mapping[str, Any], **sizes: Any) -> nn.Module:
    """The module of another builder, with some of its layers rounded to 8 bits.

    Args:
        build: the other builder.
        exported: the names of these `layers`.
        sizes: what the other builder takes.
    """
    module = build_sized(build, sizes)
    round_layers(module, exported.get("layers", ()))
    return module


def build_graphs(
    build: ModuleBuilder, *, format: str, exported: Mapping[str, Any], **sizes: Any
) -> nn.Module:
    """The module of another builder, with graphs in the place of parts of it or of all.

    Args:
        build: the other builder.
        format: what runs them.
        exported: the `graphs` (see `put_graphs`).
        sizes: what the other builder takes.
    """
    module = build_sized(build, sizes)
    return put_graphs(module, exported.get("graphs", {}), format=format)


_BUILDERS: dict[Format, Callable[..., nn.Module]] = {
    "int8": build_int8,
    "onnx": partial(build_graphs, format="onnx"),
    "torch.export": partial(build_graphs, format="torch.export"),
}


def _refuse_initialization(X: Any, Y: Any) -> NoReturn:
    raise ValueError(
        "an exported component cannot be initialized or trained: train the pipeline that it was "
        "made from, and export that again"
    )


def _refuse_labels(model: Model[Any, Any], n_labels: int) -> NoReturn:
    raise ValueError(
        "an exported component cannot be given another label: add it to the pipeline that it was "
        "made from, train that, and export it again"
    )
