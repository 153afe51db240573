import copy
import io
import os
import pickle
import zipfile
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spacy_torch.architectures.exported_graph import (
    ExportedGraph,
    check_unpickled,
    open_onnx,
    open_program,
    put_graphs,
)
from spacy_torch.export.calls import Call
from spacy_torch.export.formats import NotExportable
from spacy_torch.export.graphs import _to_archive, _to_onnx
from spacy_torch.export.trace import calls_of_part, find_part, trace


class Double(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))

    def forward(self, values: Tensor, *, offset: Tensor) -> dict[str, Tensor]:
        return {"doubled": self.factor * values + offset}


def calls_of(module: nn.Module, *args: Any, **kwargs: Any) -> list[Call]:
    return [Call(args, kwargs, module(*args, **kwargs))]


@pytest.fixture(scope="module")
def program() -> tuple[Any, Any]:
    return trace(Double(), calls_of(Double(), torch.ones(3, 4), offset=torch.ones(4)))


def open_lines(data: bytes) -> Any:
    """A graph that adds the number of its bytes, and tells when it is opened."""
    OPENED.append(data)
    return lambda tensors: [tensor + len(data) for tensor in tensors]


OPENED: list[bytes] = []


def make_graph() -> ExportedGraph:
    graph = ExportedGraph(open_lines, n_bytes=3, outputs={"list": [{"tensor": 0}]}).eval()
    OPENED.clear()
    return graph


def test_graph_runs_on_the_tensors_of_a_call_and_is_opened_once():
    graph = make_graph()
    for _ in range(2):
        assert torch.equal(graph(None, x=torch.ones(2))[0], torch.full((2,), 4.0))
    assert len(OPENED) == 1


def test_graph_is_opened_again_after_a_load_a_copy_and_a_fork(monkeypatch):
    graph = make_graph()
    graph(torch.ones(1))
    graph.load_state_dict({"graph": torch.tensor([1, 2, 3], dtype=torch.uint8)})
    for other in (graph, copy.deepcopy(graph), pickle.loads(pickle.dumps(graph))):
        other(torch.ones(1))
    assert [b"\0\0\0", *3 * [b"\1\2\3"]] == OPENED
    monkeypatch.setattr(os, "getpid", lambda: -1)
    graph(torch.ones(1))
    assert len(OPENED) == 5


def test_graph_refuses_to_train():
    with pytest.raises(RuntimeError, match="an exported module only predicts and cannot be train"):
        make_graph().train()(torch.ones(1))


@pytest.mark.parametrize(
    ("pack", "open_graph"), [(_to_onnx, open_onnx), (_to_archive, open_program)]
)
def test_program_runs_batches_of_any_size(program, pack, open_graph):
    run = open_graph(pack(program[0]))
    for rows in (5, 1, 0):
        values = torch.randn(rows, 4)
        (found,) = run([values, torch.ones(4)])
        torch.testing.assert_close(found, 2 * values + 1)


def test_graphs_take_the_place_of_a_part_or_of_the_whole(program):
    data = _to_archive(program[0])
    entry = {"bytes": len(data), "outputs": program[1]}
    module = nn.ModuleDict({"a": Double(), "b": Double()}).eval()
    whole = put_graphs(Double().eval(), {"": entry}, format="torch.export")
    for graph in (put_graphs(module, {"b": entry}, format="torch.export").b, whole):
        graph.graph.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        found = graph(torch.ones(2, 4), offset=torch.zeros(4))
        assert torch.equal(found["doubled"], torch.full((2, 4), 2.0))
    assert isinstance(module["a"], Double)


def test_bytes_that_are_no_graph_are_refused():
    with pytest.raises(ValueError, match="ONNX Runtime cannot run the exported graph"):
        open_onnx(b"nothing")
    with pytest.raises(ValueError, match="not a program of torch.export: File is not a zip file"):
        open_program(b"nothing")


def make_archive(**files: str | bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def test_archive_without_a_model_is_refused():
    with pytest.raises(ValueError, match="there is no models/ in the archive"):
        open_program(make_archive(version="1"))
    with pytest.raises(ValueError, match="torch cannot load the exported program"):
        open_program(make_archive(**{"models/model.json": "{}"}))


def test_archive_with_pickled_data_is_never_loaded(program):
    check_unpickled(_to_archive(program[0]))
    model = {"models/model.json": "{}"}
    config = '{"config": {"w": {"path_name": "weight_0", "use_pickle": true}}}'
    name = "data/weights/model_weights_config.json"
    with pytest.raises(ValueError, match="pickled data .weight_0., which is never loaded"):
        open_program(make_archive(**model, **{name: config}))
    inputs = {"data/sample_inputs/model.pt": pickle.dumps(print)}
    with pytest.raises(ValueError, match="pickled data .*sample_inputs/model.pt"):
        open_program(make_archive(**model, **inputs))


def test_missing_runtime_is_named_with_its_extra(monkeypatch, program):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"needs the package 'onnxruntime'.*\[onnx\]"):
        open_onnx(b"")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"the package 'onnxscript' is needed.*\[onnx\]"):
        _to_onnx(program[0])


class Words(nn.Module):
    def forward(self, words: list[Any]) -> Tensor:
        return torch.ones(len(words))


class Branching(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values + 1 if float(values.sum()) > 0 else values


class Segments(nn.Module):
    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        return torch.segment_reduce(values, "max", lengths=lengths, unsafe=True)


def test_modules_that_cannot_be_traced_are_told_apart():
    words = [object(), object()]
    with pytest.raises(NotExportable, match="does not take and return tensors alone: .* object"):
        trace(Words(), calls_of(Words(), words))
    with pytest.raises(NotExportable, match="torch cannot trace it: "):
        trace(Branching(), calls_of(Branching(), torch.ones(2)))
    calls = calls_of(Segments(), torch.randn(5, 2), torch.tensor([2, 3]))
    with pytest.raises(NotExportable, match="ONNX cannot hold it: .*segment_reduce"):
        _to_onnx(trace(Segments(), calls)[0])


def test_older_torch_is_named(monkeypatch):
    monkeypatch.delattr(torch.compiler, "is_exporting")
    with pytest.raises(NotExportable, match="this needs torch 2.7 or later, and this is "):
        trace(Double(), calls_of(Double(), torch.ones(2), offset=torch.ones(2)))


def test_call_with_the_largest_axes_is_traced():
    module = Double()
    calls = [
        *calls_of(module, torch.ones(1, 4), offset=torch.ones(4)),
        *calls_of(module, torch.ones(3, 4), offset=torch.ones(4)),
    ]
    program, _ = trace(module, calls)
    (found,) = program.module()(torch.zeros(6, 4), torch.ones(4))
    assert torch.equal(found, torch.ones(6, 4))


def test_calls_of_a_part_are_those_it_gets_from_the_whole():
    module = nn.Sequential(nn.ReLU(), nn.Identity())
    assert find_part(module) == ""
    calls = calls_of(module, torch.tensor([-1.0, 2.0]))
    assert calls_of_part(module, "", calls) == calls
    (call,) = calls_of_part(module, "1", calls)
    assert call.args[0].tolist() == [0.0, 2.0]
