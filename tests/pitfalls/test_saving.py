"""What goes wrong in saving and loading: sizes, damage, large models, resuming.

Each test is a row of the comparison in the README; the twin on Thinc's own wrapper and
optimizer must fail. That a second `spacy train` keeps the first one's best pipeline is
shown in tests/training/test_keep_best.py, and how little memory saving and loading take in
tests/bridge/test_weights_memory.py.
"""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from spacy.language import Language
from thinc.api import Adam, Model, decaying
from tiny_textcat import make_examples, make_nlp, predict, train
from torch import Tensor, nn
from wrappers import fails_on_thinc, ours, thincs

from spacy_torch.bridge import weights_bytes
from spacy_torch.bridge.model import get_shim
from spacy_torch.bridge.optimizer_state import load_optimizer, save_optimizer
from spacy_torch.bridge.weights import WeightsError

make_thinc_nlp = partial(make_nlp, "textcat", model={"@architectures": "tests.ThincBag.v1"})


@fails_on_thinc(
    "make",
    make_nlp,
    make_thinc_nlp,
    reason="the module is not sized again on loading",
    raises=RuntimeError,
)
def test_own_module_sized_from_the_data_loads_again(make, tmp_path):
    nlp = make()
    train(nlp, steps=5)
    nlp.to_disk(tmp_path)
    assert predict(make().from_disk(tmp_path)) == predict(nlp)


@fails_on_thinc(
    "make",
    make_nlp,
    make_thinc_nlp,
    reason="the module is not sized again on loading",
    raises=RuntimeError,
)
def test_own_module_sized_from_the_data_comes_back_from_bytes(make):
    nlp = make()
    train(nlp, steps=5)
    assert predict(make().from_bytes(nlp.to_bytes())) == predict(nlp)


def test_own_module_serves_the_stock_component_too(tmp_path):
    model = {"@architectures": "tests.Bag.v1"}
    nlp = make_nlp("textcat", model=model)
    train(nlp)
    nlp.to_disk(tmp_path)
    loaded = make_nlp("textcat", model=model).from_disk(tmp_path)
    assert predict(loaded) == predict(nlp)
    assert predict(nlp)[0]["good"] > predict(nlp)[3]["good"]


@pytest.mark.parametrize("factory", ["textcat", "torch_textcat"])
def test_model_larger_than_one_bytes_object_can_be_saved(factory, tmp_path, monkeypatch):
    # The limit of msgpack is 4 GiB; the pieces are made small instead of the model large.
    monkeypatch.setattr(weights_bytes, "CHUNK_BYTES", 100)
    nlp = make_nlp(factory, model={"@architectures": "tests.Bag.v1"})
    train(nlp, steps=2)
    shim = get_shim(nlp.get_pipe(factory).model.get_ref("logits"))
    assert max(map(len, shim.to_bytes())) == 100
    nlp.to_disk(tmp_path)
    loaded = make_nlp(factory, model={"@architectures": "tests.Bag.v1"})
    assert predict(loaded.from_disk(tmp_path)) == predict(nlp)
    assert predict(loaded.from_bytes(nlp.to_bytes())) == predict(nlp)


def flip_bit(file: Path) -> None:
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) * 3 // 4] ^= 1
    file.write_bytes(damaged)


def cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def load_damaged(make: Any, name: str, damage: Any, path: Path) -> Language:
    nlp = make()
    train(nlp, steps=2)
    nlp.to_disk(path)
    damage(path / nlp.pipe_names[0] / name)
    return make().from_disk(path)


@pytest.mark.parametrize("damage", [flip_bit, cut_in_half])
@pytest.mark.parametrize("name", ["model", "model.safetensors"])
def test_damaged_file_is_named_with_its_component(name, damage, tmp_path):
    message = rf"Component 'torch_textcat', file .*torch_textcat.{name}: (damaged|cut short)"
    with pytest.raises(WeightsError, match=message):
        load_damaged(make_nlp, name, damage, tmp_path)


def test_damaged_tensor_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"tensors 'embed.weight' do not match their digests"):
        load_damaged(make_nlp, "model.safetensors", flip_bit, tmp_path)


class SizedThincBag:
    """Thinc's side of the comparison with the label count known beforehand."""

    @staticmethod
    def make() -> Language:
        nlp = make_thinc_nlp()
        nlp.initialize(lambda: make_examples(nlp))
        return nlp


@pytest.mark.xfail(strict=True, reason="damage is not noticed", raises=pytest.fail.Exception)
def test_damaged_file_is_noticed_with_thinc(tmp_path):
    with pytest.raises(Exception, match=r".*"):
        load_damaged(SizedThincBag.make, "model", flip_bit, tmp_path)


@pytest.mark.xfail(strict=True, reason="names no file and no component", raises=AssertionError)
def test_half_a_file_is_named_with_thinc(tmp_path):
    with pytest.raises(ValueError, match=r"textcat.*model"):
        load_damaged(SizedThincBag.make, "model", cut_in_half, tmp_path)


def test_training_resumes_where_it_was_saved(tmp_path):
    def make_optimizer() -> Adam:
        return Adam(decaying(0.05, 0.1), use_averages=True)

    nlp = make_nlp()
    optimizer = train(nlp, steps=4, sgd=make_optimizer())
    nlp.to_disk(tmp_path / "nlp")
    save_optimizer(optimizer, models_of(nlp), tmp_path / "optimizer")
    resumed = make_nlp().from_disk(tmp_path / "nlp")
    resumed_optimizer = make_optimizer()
    load_optimizer(resumed_optimizer, models_of(resumed), tmp_path / "optimizer")
    for pipeline, sgd in ((nlp, optimizer), (resumed, resumed_optimizer)):
        for _ in range(4):
            pipeline.update(make_examples(pipeline), sgd=sgd)
            sgd.step_schedules()
    assert predict(resumed) == predict(nlp)
    with nlp.use_params(optimizer.averages), resumed.use_params(resumed_optimizer.averages):
        assert predict(resumed) == predict(nlp)


def models_of(nlp: Language) -> dict[str, Model[Any, Any]]:
    return {name: pipe.model for name, pipe in nlp.pipeline}


@pytest.mark.xfail(strict=True, reason="cannot pickle 'generator' object", raises=TypeError)
def test_optimizer_with_a_schedule_can_be_saved_with_thinc():
    pickle.dumps(Adam(decaying(0.05, 0.1)))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def build_compiled() -> nn.Module:
    return torch.compile(Plain(), backend="eager")


@fails_on_thinc("wrap", ours, thincs, reason="the names begin with _orig_mod", raises=RuntimeError)
def test_plain_module_loads_what_a_compiled_one_saved(wrap):
    compiled, plain = wrap(build_compiled), wrap(Plain)
    X = numpy.ones((1, 2), dtype="f")
    assert (plain.from_bytes(compiled.to_bytes()).predict(X) == compiled.predict(X)).all()
