"""Models in training go on from what was saved of them."""

import copy
from functools import partial

import numpy
import pytest
import torch
from thinc.api import Adam, Linear, Model, PyTorchWrapper, Shim, chain
from torch import nn

from spacy_torch.bridge.model import get_shim, wrap_module
from spacy_torch.bridge.model_state import load_models, save_models
from spacy_torch.bridge.optimizer_state import load_optimizer, save_optimizer
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.bridge.weights import WeightsError

X = numpy.ones((2, 3), dtype="float32")


def make_models(*, precision="fp32", n_outputs=4):
    """A module of ours, one behind Thinc's own shim, and layers of Thinc's."""
    ours = wrap_module(
        partial(nn.Linear, 3, n_outputs),
        name="net",
        runtime=Runtime(device="cpu", precision=precision),
    )
    ours.initialize()
    thincs = chain(
        Linear(4, 3).initialize(), PyTorchWrapper(nn.Linear(4, 2)), Linear(2, 2).initialize()
    )
    return {"ours": ours, "thincs": thincs}


def train(models, optimizer, *, n_steps, names=("ours", "thincs")):
    for step in range(n_steps):
        for name in names:
            outputs, backprop = models[name].begin_update(X + step)
            backprop(outputs)
        for model in models.values():
            model.finish_update(optimizer)


def outputs(models):
    return {name: model.predict(X).tolist() for name, model in models.items()}


@pytest.mark.parametrize("names", [("ours", "thincs"), ("ours",)])
def test_training_goes_on_bit_for_bit(tmp_path, names):
    """Thinc moves what has once had a gradient in every step: without "thincs", too."""
    models, optimizer = make_models(), Adam(0.01)
    train(models, optimizer, n_steps=3)
    save_models(models, tmp_path / "models")
    save_optimizer(optimizer, models, tmp_path / "optimizer")
    resumed, other = make_models(), Adam(0.01)
    load_models(resumed, tmp_path / "models")
    load_optimizer(other, resumed, tmp_path / "optimizer")
    assert outputs(resumed) == outputs(models)
    before = copy.deepcopy(outputs(models)["thincs"])
    train(models, optimizer, n_steps=2, names=names)
    train(resumed, other, n_steps=2, names=names)
    assert outputs(resumed) == outputs(models)
    assert outputs(models)["thincs"] != before


def test_gradients_that_wait_are_saved(tmp_path):
    models = make_models()
    linear = models["thincs"].layers[0]
    linear.inc_grad("b", numpy.arange(4, dtype="float32"))
    save_models(models, tmp_path / "models")
    resumed = make_models()
    resumed["thincs"].layers[2].inc_grad("b", numpy.ones(2, dtype="float32"))
    load_models(resumed, tmp_path / "models")
    assert resumed["thincs"].layers[0].get_grad("b").tolist() == [0, 1, 2, 3]


def test_state_of_the_shim_is_saved(tmp_path):
    models = make_models(precision="fp16")
    shim = get_shim(models["ours"])
    state = {"steps": 7, "skipped": 2, "precision": {"scale": 8.0, "clean_steps": 5}}
    shim.training_state = state
    save_models(models, tmp_path / "models")
    resumed = make_models(precision="fp16")
    load_models(resumed, tmp_path / "models")
    assert get_shim(resumed["ours"]).training_state == state
    assert (get_shim(resumed["ours"]).steps, get_shim(resumed["ours"]).skipped_steps) == (7, 2)


def test_scale_of_thincs_own_shim_is_saved(tmp_path):
    models, resumed = make_models(), make_models()
    scaler = models["thincs"].layers[1].shims[0]._grad_scaler
    scaler._scale.fill_(8.0)
    scaler._growth_tracker.fill_(3)
    save_models(models, tmp_path / "models")
    load_models(resumed, tmp_path / "models")
    loaded = resumed["thincs"].layers[1].shims[0]._grad_scaler
    assert (loaded._scale.item(), loaded._growth_tracker.item()) == (8.0, 3)


@pytest.mark.parametrize("saved", ["fp16", "fp32"])
def test_state_of_another_precision_is_refused(tmp_path, saved):
    save_models(make_models(precision=saved), tmp_path / "models")
    other = make_models(precision="fp32" if saved == "fp16" else "fp16")
    with pytest.raises(ValueError, match="is of another precision than .*use the config that"):
        load_models(other, tmp_path / "models")


def test_read_only_arrays_are_loaded_into(tmp_path):
    models = make_models()
    save_models(models, tmp_path / "models")
    resumed = make_models()
    linear = resumed["thincs"].layers[0]
    array = linear.get_param("W").copy()
    array.flags.writeable = False
    linear.set_param("W", array)
    load_models(resumed, tmp_path / "models")
    assert outputs(resumed) == outputs(models)


def test_models_of_another_shape_are_refused(tmp_path):
    save_models(make_models(), tmp_path / "models")
    with pytest.raises(WeightsError, match="ours/0/0/weight"):
        load_models(make_models(n_outputs=5), tmp_path / "models")


def test_models_of_other_components_are_refused(tmp_path):
    models = make_models()
    save_models(models, tmp_path / "models")
    other = {"another": models["ours"], "thincs": models["thincs"]}
    with pytest.raises(WeightsError, match=r"modules \['ours/0/0'\], the models have \['another"):
        load_models(other, tmp_path / "models")


def test_gradients_of_nothing_are_refused(tmp_path):
    models = make_models()
    models["thincs"].layers[0].inc_grad("b", numpy.zeros(4, dtype="float32"))
    save_models(models, tmp_path / "models")
    with pytest.raises(WeightsError, match="gradient of 'thinc:thincs/1/b', which is nothing"):
        load_models({"ours": models["ours"]}, tmp_path / "models")


def test_models_of_other_libraries_are_refused(tmp_path):
    class OtherShim(Shim):
        pass

    model = Model("other", forward=None, shims=[OtherShim(torch.zeros(1))])
    with pytest.raises(TypeError, match="model of 'other/0/0' is a Tensor behind a OtherShim"):
        save_models({"other": model}, tmp_path / "models")
