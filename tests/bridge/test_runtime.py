"""Device, precision and the reaction to NaN are checked when they are set."""

import logging

import pytest
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
