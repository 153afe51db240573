"""A graph of tensor operations in the place of a torch module, run by ONNX Runtime or by torch."""

from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spacy_torch.bridge.tree import leaves
from spacy_torch.bridge.tree_template import fill_template
from spacy_torch.nn.int8 import refuse_training

INSTALL = 'python -m pip install "spacy-torch[onnx]"'
Run = Callable[[Sequence[Tensor]], Sequence[Tensor]]
Open = Callable[[bytes], Run]


class ExportedGraph(nn.Module):
    """Runs a graph on the tensors that it is called with, as the module did that it was made of.

    The graph is a buffer, so that it is saved, loaded and checked as weights are.

    Args:
        open_graph: makes the bytes of a graph a function from tensors to tensors.
        n_bytes: their number.
        outputs: the structure of what the module returned (see `bridge.tree_template`).
    """

    graph: Tensor

    def __init__(self, open_graph: Open, *, n_bytes: int, outputs: Mapping[str, Any]) -> None:
        super().__init__()
        self.register_buffer("graph", torch.zeros(n_bytes, dtype=torch.uint8))
        self.outputs = outputs
        self._open = open_graph
        self._opened: tuple[object, Run] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module would return.

        Raises:
            RuntimeError: in training mode.
            ValueError: the graph cannot be read.
        """
        if self.training:
            refuse_training()
        tensors = [leaf for leaf in leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        with torch.no_grad():
            return fill_template(self.outputs, self._find_run()(tensors))

    def _find_run(self) -> Run:
        # Threads of another process are not there after a fork.
        stamp = (id(self.graph), self.graph._version, os.getpid())
        if self._opened is None or self._opened[0] != stamp:
            self._opened = stamp, self._open(self.graph.cpu().numpy().tobytes())
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_opened": None}


def open_onnx(data: bytes) -> Run:
    """An ONNX graph, run by ONNX Runtime on the CPU with as many threads as torch uses.

    Raises:
        ImportError: the package `onnxruntime` is not installed.
        ValueError: it is no graph that ONNX Runtime can run.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"a component exported to ONNX needs the package 'onnxruntime': {INSTALL}"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what it would log, it also raises
    try:
        session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
    except Exception as error:  # of types that it does not export
        raise ValueError(f"ONNX Runtime cannot run the exported graph: {error}") from error
    names = [entry.name for entry in session.get_inputs()]

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        arrays = {
            name: tensor.detach().contiguous().numpy()
            for name, tensor in zip(names, tensors, strict=True)
        }
        return [torch.from_numpy(array) for array in session.run(None, arrays)]

    return run


def open_program(data: bytes) -> Run:
    """A program of `torch.export`, a `.pt2` archive.

    Raises:
        ValueError: it cannot be read, or something in it would have to be unpickled.
    """
    check_unpickled(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, about itself
            module = torch.export.load(io.BytesIO(data)).module()
    except Exception as error:
        raise ValueError(f"torch cannot load the exported program: {error}") from error

    def run(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return module(*tensors)

    return run


def check_unpickled(data: bytes) -> None:
    """Refuse a `.pt2` archive whose tensors torch would unpickle, which may run anything.

    Raises:
        ValueError: it is such a one, or no archive of this kind.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise ValueError(f"not a program of torch.export: {error}") from error
    if not any(name.startswith("models/") for name in files):
        raise ValueError("not a program of torch.export: there is no models/ in the archive")
    pickled = [name for name in files if name.startswith("data/sample_inputs/") and files[name]]
    for name, content in files.items():
        if name.endswith("_config.json"):
            entries = json.loads(content)["config"].values()
            pickled += [entry["path_name"] for entry in entries if entry["use_pickle"]]
    if pickled:
        raise ValueError(
            f"the program has pickled data ({', '.join(pickled[:3])}), which is never loaded"
        )


OPENERS: dict[str, Open] = {"onnx": open_onnx, "torch.export": open_program}


def put_graphs(module: nn.Module, graphs: Mapping[str, Any], *, format: str) -> nn.Module:
    """Put graphs in the place of parts of a module, or of all of it.

    Args:
        graphs: for the name of each part, empty for the whole module, the number of `bytes`
            and the structure of the `outputs`.

    Returns:
        The module, or what takes its place.
    """
    for name, entry in graphs.items():
        graph = ExportedGraph(OPENERS[format], n_bytes=entry["bytes"], outputs=entry["outputs"])
        graph.train(module.training)
        if not name:
            return graph
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, graph)
    return module
