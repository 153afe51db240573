"""Export a module as a graph: for ONNX Runtime, or a program of `torch.export`."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Any

import torch

from spacy_torch.architectures.exported_graph import INSTALL, ExportedGraph, put_graphs
from spacy_torch.bridge.shim import TorchShim
from spacy_torch.export.calls import Call
from spacy_torch.export.formats import Exported, NotExportable
from spacy_torch.export.trace import calls_of_part, find_part, trace


def export_onnx(shim: TorchShim, calls: Sequence[Call]) -> Exported:
    """An ONNX graph in the place of the module, or of the transformer in it.

    Raises:
        ImportError: the packages that write ONNX are not installed.
        NotExportable: the module, or ONNX, cannot do it.
    """
    return _export_graph(shim, calls, format="onnx", pack=_to_onnx)


def export_program(shim: TorchShim, calls: Sequence[Call]) -> Exported:
    """A program of `torch.export` in the place of the module, or of the transformer in it.

    Raises:
        NotExportable: the module, or torch, cannot do it.
    """
    return _export_graph(shim, calls, format="torch.export", pack=_to_archive)


def _export_graph(
    shim: TorchShim, calls: Sequence[Call], *, format: str, pack: Callable[[Any], bytes]
) -> Exported:
    name = find_part(shim.module)
    part = shim.module.get_submodule(name)
    program, outputs = trace(part, calls_of_part(shim.module, name, calls))
    data = pack(program)
    graphs = {name: {"bytes": len(data), "outputs": outputs}}
    module = put_graphs(copy.deepcopy(shim.module), graphs, format=format)
    graph = module.get_submodule(name)
    assert isinstance(graph, ExportedGraph)
    graph.graph.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    return Exported(module, {"graphs": graphs}, f"a graph of {name or 'the whole module'}")


def _to_onnx(program: Any) -> bytes:
    try:
        import onnxscript  # noqa: F401  (torch.onnx imports it, and says less)
    except ImportError as error:
        raise ImportError(
            f"to write ONNX, the package 'onnxscript' is needed: {INSTALL}"
        ) from error
    try:
        with warnings.catch_warnings(), _quiet("torch.onnx", "onnx_ir", "onnxscript"):
            warnings.simplefilter("ignore")  # of torch's and onnxscript's own making
            written = torch.onnx.export(program, dynamo=True, verbose=False)
            assert written is not None
            return written.model_proto.SerializeToString()
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise NotExportable(f"ONNX cannot hold it: {cause}") from error


def _to_archive(program: Any) -> bytes:
    program._example_inputs = None  # which would be pickled
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, file)
    return file.getvalue()


@contextlib.contextmanager
def _quiet(*names: str) -> Generator[None, None, None]:
    """Keep loggers from warning of what a failure would say again."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
