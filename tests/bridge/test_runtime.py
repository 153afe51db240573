"""Device, precision and the reaction to NaN are checked when they are set."""

import logging
import os

import pytest
import spacy
import torch
from spacy import registry
from thinc.api import NumpyOps, use_ops

from spacy_torch.bridge.model import get_shim, wrap_module
from spacy_torch.bridge.runtime import Runtime


def test_all_mistakes_are_named_at_once():
    message = (
        r'device must be "auto" or a torch device such as .*, got \'gpu7\'; '
        r'precision must be "fp32", "bf16" or "fp16", got \'fp8\'; '
        r'non_finite must be "raise" or "skip", got \'ignore\'; '
        r"loss_scale must be > 0, got -1"
    )
    with pytest.raises(ValueError, match=message):
        Runtime(device="gpu7", precision="fp8", non_finite="ignore", loss_scale=-1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_missing_device_becomes_the_cpu_with_a_warning():
    with pytest.warns(UserWarning, match=r"'cuda:0' is not on this machine: using the CPU. Set"):
        assert Runtime(device="cuda:0").find_device() == torch.device("cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_pipeline_trained_on_a_gpu_loads_on_this_machine(precision):
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    model = wrap_module(torch.nn.Identity, runtime=Runtime(device="cuda:0", precision=precision))
    with pytest.warns(UserWarning, match="using the CPU"):
        model.initialize()
    assert model.predict(torch.ones(1, 2).numpy()).tolist() == [[1.0, 1.0]]


def test_cpu_stays_the_cpu():
    assert Runtime(device="cpu").find_device() == torch.device("cpu")


@pytest.mark.skipif(
    torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU"
)
def test_auto_is_the_cpu_where_there_is_nothing_else():
    with use_ops(NumpyOps.name):
        assert Runtime().find_device() == torch.device("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_auto_finds_the_gpu_without_cupy():
    model = wrap_module(torch.nn.Identity)
    model.initialize()
    assert get_shim(model).device.type == "cuda"


def test_config_makes_a_runtime():
    config = {"runtime": {"@misc": "spacy-torch.Runtime.v1", "device": "cpu", "precision": "bf16"}}
    runtime = registry.resolve(config)["runtime"]
    assert runtime == Runtime(device="cpu", precision="bf16")


def test_config_refuses_an_unknown_precision(caplog):
    caplog.set_level(logging.ERROR)
    config = {"runtime": {"@misc": "spacy-torch.Runtime.v1", "precision": "fp8"}}
    with pytest.raises(ValueError, match=r"fp8|fp32"):
        registry.resolve(config)


def test_plain_settings_make_a_runtime():
    model = wrap_module(torch.nn.Identity, runtime={"device": "cpu", "non_finite": "skip"})
    assert get_shim(model).runtime == Runtime(device="cpu", non_finite="skip")


def test_unknown_settings_are_named():
    message = r"runtime has no setting 'presicion'; there are device, precision, non_finite, loss_"
    with pytest.raises(TypeError, match=message):
        wrap_module(torch.nn.Identity, runtime={"presicion": "bf16"})


def test_runtime_must_be_settings():
    with pytest.raises(TypeError, match='block with @misc.*Runtime.v1", or a mapping'):
        wrap_module(torch.nn.Identity, runtime="cpu")


def test_component_takes_plain_settings_from_the_config():
    nlp = spacy.blank("en")
    settings = {"non_finite": "skip", "device": "cpu"}
    component = nlp.add_pipe("torch_textcat", config={"model": {"runtime": settings}})
    assert get_shim(component.logits_model).runtime == Runtime(**settings)


def test_device_is_logged_once(caplog):
    model = wrap_module(torch.nn.Identity, name="net", runtime=Runtime(device="cpu"))
    with caplog.at_level(logging.INFO, logger="spacy_torch"):
        model.initialize()
        model.predict(torch.ones(1, 2).numpy())
    assert [record.message for record in caplog.records] == ["net: the module runs on cpu"]


def test_module_on_a_gpu_says_what_to_do_in_a_forked_process(monkeypatch):
    model = wrap_module(torch.nn.Identity, name="net", runtime=Runtime(device="cpu"))
    model.initialize()
    monkeypatch.setattr(get_shim(model), "_device", torch.device("cuda", 0))
    monkeypatch.setattr(os, "getpid", lambda: -1)
    for use in (model.predict, model.begin_update, lambda X: model.initialize()):
        with pytest.raises(
            RuntimeError, match=r"net: its module is on the GPU \(cuda:0\), which a f"
        ):
            use(torch.ones(1, 2).numpy())
