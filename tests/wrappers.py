"""The same torch module behind our wrapper and behind Thinc's, for comparison."""

from collections.abc import Callable
from typing import Any

import pytest
from thinc.api import Model, PyTorchWrapper_v3
from torch import nn

from spacy_torch.bridge.model import wrap_module
from spacy_torch.bridge.runtime import Runtime


def ours(build: Callable[[], nn.Module], **runtime: Any) -> Model[Any, Any]:
    """Behind the wrapper of this package."""
    model = wrap_module(build, name="ours", runtime=Runtime(device="cpu", **runtime))
    model.initialize()
    return model


def thincs(build: Callable[[], nn.Module]) -> Model[Any, Any]:
    """Behind Thinc's newest one."""
    return PyTorchWrapper_v3(build())


def fails_on_thinc(
    name: str, ours: Any, thincs: Any, *, reason: str, raises: type[BaseException] = AssertionError
) -> Any:
    """Run a test on both; on Thinc's side it must fail as said, so the comparison is checked."""
    mark = pytest.mark.xfail(strict=True, reason=reason, raises=raises)
    return pytest.mark.parametrize(
        name, [pytest.param(ours, id="ours"), pytest.param(thincs, id="thinc", marks=mark)]
    )


def module_of(model: Model[Any, Any]) -> nn.Module:
    """The torch module behind either wrapper."""
    return model.shims[0]._model
