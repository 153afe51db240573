"""A module is built when its sizes are known, wherever they come from."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from thinc.api import Model
from torch import nn

from spacy_torch.bridge.model import get_shim, wrap_module
from spacy_torch.bridge.weights import WeightsError, save_weights
from spacy_torch.bridge.weights_apart import weights_apart


class Scorer(nn.Module):
    def __init__(self, n_labels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.linear = nn.Linear(3, n_labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(x))


def measure(X: Any, Y: Any) -> dict[str, int]:
    return {"n_labels": Y.shape[1]}


def build_model() -> Model[Any, Any]:
    return wrap_module(Scorer, name="scorer", measure=measure)


def build_trained(n_labels: int) -> Model[Any, Any]:
    model = build_model()
    model.initialize(X=None, Y=numpy.zeros((1, n_labels), dtype="f"))
    model.begin_update(X)  # moves the statistics of the norm
    return model


X = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).numpy()


def through_bytes(model: Model[Any, Any], into: Model[Any, Any], tmp_path: Path) -> Model[Any, Any]:
    return into.from_bytes(model.to_bytes())


def through_disk(model: Model[Any, Any], into: Model[Any, Any], tmp_path: Path) -> Model[Any, Any]:
    model.to_disk(tmp_path / "model")
    return into.from_disk(tmp_path / "model")


def through_own_file(
    model: Model[Any, Any], into: Model[Any, Any], tmp_path: Path
) -> Model[Any, Any]:
    get_shim(model).to_disk(tmp_path / "weights")
    get_shim(into).from_disk(tmp_path / "weights")
    return into


ways = pytest.mark.parametrize("way", [through_bytes, through_disk, through_own_file])


@ways
def test_new_model_loads_without_initialization(way, tmp_path):
    model = build_trained(2)
    assert (way(model, build_model(), tmp_path).predict(X) == model.predict(X)).all()


@ways
@pytest.mark.parametrize("n_labels", [1, 2, 5])
def test_initialized_model_takes_the_sizes_of_the_weights(way, n_labels, tmp_path):
    model = build_trained(2)
    loaded = way(model, build_trained(n_labels), tmp_path)
    assert (loaded.predict(X) == model.predict(X)).all()
    assert get_shim(loaded).sizes == {"n_labels": 2}


@pytest.mark.parametrize(
    "make", [Model.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_copy_scores_alike_and_learns_alone(make):
    model = build_trained(2)
    before = model.predict(X)
    copied = make(model)
    assert (copied.predict(X) == before).all()
    with torch.no_grad():
        get_shim(copied).module.linear.bias.add_(1.0)
    assert (model.predict(X) == before).all()
    assert get_shim(copied).id != get_shim(model).id
    assert get_shim(copied).sizes == {"n_labels": 2}


@pytest.mark.parametrize(
    "make", [Model.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_model_can_be_copied_before_initialization(make):
    copied = make(build_model())
    copied.initialize(X=None, Y=numpy.zeros((1, 3)))
    assert copied.predict(X).shape == (4, 3)


def test_model_can_be_saved_before_initialization(tmp_path):
    for way in (through_bytes, through_disk):
        assert not get_shim(way(build_model(), build_model(), tmp_path)).is_built


def test_loading_an_unbuilt_model_leaves_a_built_one_alone():
    model = build_trained(2)
    before = model.predict(X)
    model.from_bytes(build_model().to_bytes())
    assert (model.predict(X) == before).all()


def test_copy_has_no_gradients():
    model = build_trained(2)
    Y, backprop = model.begin_update(X)
    backprop(Y)
    assert get_shim(model.copy()).module.linear.bias.grad is None


def test_copy_keeps_labels_and_facts_apart():
    shim = get_shim(build_trained(2))
    shim.info["labels"] = ["a", "b"]
    copied = shim.copy()
    copied.info["labels"].append("c")
    assert shim.info == {"labels": ["a", "b"]}


def test_initializing_again_starts_afresh():
    model = build_trained(2)
    torch.manual_seed(5)
    model.initialize(X=None, Y=numpy.zeros((1, 2)))
    torch.manual_seed(5)
    fresh = build_model()
    fresh.initialize(X=None, Y=numpy.zeros((1, 2)))
    assert (model.predict(X) == fresh.predict(X)).all()


def test_resizing_keeps_the_rows_that_were_learned():
    model = build_trained(2)
    before = model.predict(X)
    get_shim(model).resize({"n_labels": 4})
    after = model.predict(X)
    assert after.shape == (4, 4)
    numpy.testing.assert_allclose(after[:, :2], before, atol=1e-6)


def test_resizing_to_the_same_size_keeps_the_module():
    shim = get_shim(build_trained(2))
    module = shim.module
    shim.resize({"n_labels": 2})
    assert shim.module is module


def test_weights_of_another_module_leave_this_one_as_it_was(tmp_path):
    model = build_trained(2)
    before = model.predict(X)
    other = nn.Linear(3, 2).state_dict()
    save_weights(other, tmp_path / "other", name="scorer", sizes={"n_labels": 3}, info={})
    with pytest.raises(WeightsError, match=r"missing from the weights: .*'linear.weight'"):
        get_shim(model).from_disk(tmp_path / "other")
    assert (model.predict(X) == before).all()
    assert get_shim(model).sizes == {"n_labels": 2}


def test_weights_kept_apart_leave_only_a_mark_in_the_bytes():
    model = build_trained(2)
    with weights_apart():
        data = model.to_bytes()
    assert len(data) < 1000 < len(model.to_bytes())
    loaded = build_model().from_bytes(data)
    assert get_shim(loaded).is_apart
    assert not get_shim(loaded).is_built


def test_module_loads_in_evaluation_mode():
    assert not get_shim(build_model().from_bytes(build_trained(2).to_bytes())).module.training
