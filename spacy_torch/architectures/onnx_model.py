"""`spacy-torch.ONNX.v1`: an ONNX graph as a classifier's model, to be trained further."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import torch
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d
from torch import Tensor, nn

from spacy_torch.architectures.classifier import build_classifier
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.nn.onnx_graph import OLDEST_OPSET, OnnxGraph

NAME = "spacy-torch.ONNX.v1"
INSTALL = 'python -m pip install "spacy-torch[onnx]"'
# Integers and single numbers up to so many are part of the graph's structure.
LARGEST_CONSTANT = 1024
Head = Literal["graph", "linear"]


def build_onnx(
    path: Path,
    features: Callable[..., Any],
    *,
    exclusive_classes: bool,
    head: Head = "graph",
    runtime: Runtime | None = None,
) -> Model[list[Doc], Floats2d]:
    """An ONNX graph behind `textcat`, `torch_textcat` and their multilabel kin.

    The file is read at initialization: its weights are learned further, and saved with the
    pipeline together with the graph, so that loading needs neither the file nor the package
    `onnx`. The graph runs in torch, with the operators of `nn.onnx_operators`; it must be of
    operator set 13 or later, and take batches of any size.

    Args:
        path: of the `.onnx` file.
        features: list of documents -> the graph's input: an array, a tuple of several, or a
            dict by the names that the graph gives them.
        head: "graph": the graph's first output are the logits, one for each label; "linear":
            it is a vector, on which a linear layer is trained.
        exclusive_classes, runtime: see `spacy-torch.Module.v1`.

    Raises:
        TypeError: `features` cannot be called.
    """
    if not callable(features):
        raise TypeError(
            f"{NAME}: features must be a function from a list of Doc objects to the graph's "
            f"input, got {features!r}"
        )
    return build_classifier(
        partial(build_onnx_module, path=path, head=head),
        features,
        name=NAME,
        exclusive_classes=exclusive_classes,
        measure=partial(measure_graph, path=path),
        runtime=runtime,
        skip_empty=True,
    )


def measure_graph(docs: Sequence[Doc], *, path: Path) -> dict[str, Any]:
    """The graph of a file without its weights, to be stored with them."""
    return {"graph": read_graph(path)[0]}


def build_onnx_module(
    *, path: Path, head: Head, n_labels: int, graph: Mapping[str, Any]
) -> OnnxClassifier:
    """The torch module of `build_onnx`; the last argument is measured."""
    return OnnxClassifier(graph, path=path, head=head, n_labels=n_labels)


class OnnxClassifier(nn.Module):
    """An ONNX graph and, perhaps, a linear layer on its first output.

    Args:
        graph: what `read_graph` found.
        path: where its weights are, for `load_pretrained`.
        head: see `build_onnx`.

    Raises:
        ValueError: the graph has another number of outputs than there are labels, or does not
            say how many it has.
    """

    def __init__(self, graph: Mapping[str, Any], *, path: Path, head: Head, n_labels: int) -> None:
        super().__init__()
        parts = dict(graph)
        width: Any = parts.pop("width")
        if head == "linear" and width is None:
            raise ValueError(
                f"{NAME}, {path}: the graph does not say how wide its output is, as head = "
                '"linear" must know: export it with a fixed last axis'
            )
        if head == "graph" and width is not None and width != n_labels:
            raise ValueError(
                f"{NAME}, {path}: the graph has {width} outputs, but there are {n_labels} labels: "
                'set head = "linear" to train a new layer on them'
            )
        self.graph = OnnxGraph(**parts)
        self.output = nn.Linear(cast("int", width), n_labels) if head == "linear" else None
        self._path = path

    def load_pretrained(self) -> None:
        """Take over the weights of the file."""
        _, weights = read_graph(self._path)
        with torch.no_grad():
            for name, ours in self.graph.names.items():
                getattr(self.graph, ours).copy_(weights[name])

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The logits of a batch."""
        if len(args) == 1 and isinstance(args[0], Mapping):
            kwargs, args = {**args[0], **kwargs}, ()
        elif len(args) == 1 and isinstance(args[0], (tuple, list)):
            args = tuple(args[0])
        found = self.graph(*args, **kwargs)
        first = found[0] if isinstance(found, tuple) else found
        return first if self.output is None else self.output(first)


def read_graph(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The structure of the graph in a file, as plain JSON for `OnnxGraph`, and its weights.

    Raises:
        ImportError: the package `onnx` is not installed.
        OSError: the file cannot be opened.
        ValueError: it is no ONNX graph, or one that cannot be trained here.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise ImportError(f"{NAME} needs the package 'onnx' to read {path}: {INSTALL}") from error
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except OSError:
        raise
    except Exception as error:  # protobuf's and the checker's own
        raise ValueError(f"{NAME}, {path}: not a valid ONNX file: {error}") from error
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < OLDEST_OPSET:
        raise ValueError(
            f"{NAME}, {path}: the graph is of operator set {opset}, at least {OLDEST_OPSET} is "
            "needed: convert it with onnx.version_converter"
        )
    graph = model.graph
    arrays = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = []
    for node in graph.node:
        attributes = {entry.name: _read_attribute(entry) for entry in node.attribute}
        if node.op_type == "Constant":
            arrays[node.output[0]] = _constant(attributes)
        else:
            nodes.append((node.op_type, list(node.input), list(node.output), attributes))
    inputs = [entry for entry in graph.input if entry.name not in arrays]
    for entry in inputs:
        shape = entry.type.tensor_type.shape
        if shape.dim and shape.dim[0].dim_value:
            raise ValueError(
                f"{NAME}, {path}: the input {entry.name!r} is for batches of "
                f"{shape.dim[0].dim_value}: export the graph with a dynamic first axis"
            )
    statistics = {
        name for op, names, *_ in nodes if op == "BatchNormalization" for name in names[3:]
    }
    weights = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    constants = {name: tensor for name, tensor in weights.items() if _is_structure(tensor)}
    kept = {name: tensor for name, tensor in weights.items() if name not in constants}
    found = {
        "inputs": [entry.name for entry in inputs],
        "outputs": [entry.name for entry in graph.output],
        "nodes": [list(node) for node in nodes],
        "tensors": [
            [
                name,
                _type_name(tensor),
                list(tensor.shape),
                tensor.is_floating_point() and name not in statistics,
            ]
            for name, tensor in kept.items()
        ],
        "constants": {
            name: [_type_name(tensor), list(tensor.shape), tensor.flatten().tolist()]
            for name, tensor in constants.items()
        },
        "width": _width(graph.output[0]),
    }
    return _plain(found), kept


def _read_attribute(entry: Any) -> Any:
    from onnx import helper, numpy_helper

    value = helper.get_attribute_value(entry)
    if hasattr(value, "raw_data"):
        return numpy_helper.to_array(value)
    if isinstance(value, bytes):
        return value.decode()
    return list(value) if not isinstance(value, (int, float, str)) else value


def _constant(attributes: Mapping[str, Any]) -> Any:
    import numpy

    ((name, value),) = attributes.items()
    dtypes = {"value_float": "float32", "value_floats": "float32"}
    return numpy.array(value, dtype=getattr(value, "dtype", dtypes.get(name, "int64")))


def _is_structure(tensor: Tensor) -> bool:
    if tensor.is_floating_point():
        return tensor.numel() <= 1
    return tensor.numel() <= LARGEST_CONSTANT


def _type_name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _width(output: Any) -> int | None:
    dims = output.type.tensor_type.shape.dim
    return dims[-1].dim_value or None if len(dims) == 2 else None


def _plain(value: Any) -> Any:
    """JSON of what may hold an array of one number, the value that `ConstantOfShape` fills in."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "dtype"):
        return [str(value.dtype), value.reshape(-1)[0].item()]
    return value
