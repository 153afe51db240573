"""A compiled module computes as before, and is saved as if it were not."""

import pickle

import numpy
import pytest
import torch
from thinc.api import SGD
from torch import nn

from spacy_torch.bridge.model import get_shim, wrap_module
from spacy_torch.bridge.runtime import Runtime

X = numpy.random.default_rng(0).normal(size=(5, 3)).astype("float32")
D_Y = numpy.random.default_rng(1).normal(size=(5, 2)).astype("float32")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.dropout = nn.Dropout(0.5)

    def before_compiling(self):
        self.is_prepared = True

    def forward(self, rows):
        return self.dropout(self.linear(rows).tanh())


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    """What was compiled, by a backend that records it and needs no compiler."""
    torch.compiler.reset()
    graphs = []

    def record(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(nn.Module, "compile", partialmethod_of(nn.Module.compile, record))
    yield graphs
    torch.compiler.reset()


def partialmethod_of(compile, backend):
    def compile_with(self, **settings):
        return compile(self, backend=backend, **settings)

    return compile_with


def build_model(**runtime):
    torch.manual_seed(0)
    model = wrap_module(Net, name="net", runtime=Runtime(device="cpu", **runtime))
    model.initialize()
    return model


def test_compiled_module_predicts_and_learns_as_before(compiled):
    plain, fast = build_model(), build_model(compile=True)
    assert not compiled
    numpy.testing.assert_allclose(fast.predict(X), plain.predict(X), rtol=1e-6)
    assert compiled
    for model in (plain, fast):
        get_shim(model).set_dropout(0.0)
        Y, backprop = model.begin_update(X)
        backprop(D_Y)
        model.finish_update(SGD(0.1))
    numpy.testing.assert_allclose(fast.predict(X), plain.predict(X), rtol=1e-5)


def test_part_of_a_module_may_prepare_itself_for_compiling():
    for compile in (False, True):
        model = wrap_module(
            lambda: nn.Sequential(Net()),
            name="net",
            runtime=Runtime(device="cpu", compile=compile),
        )
        model.initialize()
        assert hasattr(get_shim(model).module[0], "is_prepared") is compile


def test_compiled_module_drops_only_while_it_learns():
    model = build_model(compile=True)
    for _ in range(2):
        assert (model.predict(X) != 0).all()
        Y, _ = model.begin_update(X)
        assert (Y == 0).any()


def test_weights_of_a_compiled_module_load_into_a_plain_one(tmp_path):
    plain, fast = build_model(), build_model(compile=True)
    fast.predict(X)
    assert get_shim(fast).to_bytes() == get_shim(plain).to_bytes()
    get_shim(fast).to_disk(tmp_path / "weights.safetensors")
    get_shim(plain).from_disk(tmp_path / "weights.safetensors")


@pytest.mark.parametrize("copy", ["copy", "bytes", "pickle"])
def test_copy_of_a_compiled_module_is_compiled_anew(copy, compiled):
    model = build_model(compile=True)
    expected = model.predict(X)
    torch.compiler.reset()
    compiled.clear()
    if copy == "bytes":
        copied = build_model(compile=True).from_bytes(model.to_bytes())
    else:
        copied = model.copy() if copy == "copy" else pickle.loads(pickle.dumps(model))
    numpy.testing.assert_array_equal(copied.predict(X), expected)
    assert compiled
