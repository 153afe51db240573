"""`spacy-torch.Keras.v1`: a Keras model, on Keras' torch backend, as a classifier's model."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d
from torch import Tensor, nn
from typing_extensions import override

from spacy_torch.architectures.module import build_module
from spacy_torch.bridge.building import describe_arguments, takes
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.registry import needs_extra

NAME = "spacy-torch.Keras.v1"
INSTALL = 'python -m pip install "spacy-torch[keras]"'


@needs_extra("keras")
def build_keras(
    model: Callable[..., Any],
    features: Callable[..., Any],
    *,
    exclusive_classes: bool,
    runtime: Runtime | None = None,
) -> Model[list[Doc], Floats2d]:
    """A Keras model behind `textcat`, `torch_textcat` and their multilabel kin.

    Keras 3 must run on torch: set the environment variable `KERAS_BACKEND=torch` before it is
    imported first. If nothing has imported it when the model is built, this is done here.

    Args:
        model: a function, importable like the `module` of `spacy-torch.Module.v1`, that takes
            the keyword `n_labels` and returns a `keras.Model` whose inputs are known. Its
            output are logits of shape (batch, label), without an activation. Dropout has the
            rates that its layers say, whatever `[training.dropout]` is.
        features, exclusive_classes, runtime: see `spacy-torch.Module.v1`.

    Raises:
        TypeError: `model` does not take `n_labels`, or `features` cannot be called.
    """
    if not takes(model, "n_labels"):
        raise TypeError(
            f"{NAME}: model must be a function with the keyword n_labels that returns a "
            f"keras.Model, but it is {describe_arguments(model)}"
        )
    return build_module(
        partial(build_keras_module, model=model),
        features,
        exclusive_classes=exclusive_classes,
        runtime=runtime,
    )


def build_keras_module(*, model: Callable[..., Any], n_labels: int) -> KerasModule:
    """The torch module of `build_keras`."""
    return KerasModule(partial(model, n_labels=n_labels))


class KerasModule(nn.Module):
    """A Keras model whose variables are parameters and buffers under names that stay.

    Keras names its variables after layers, which it counts through in a process. Here they are
    numbered in the order of the model, so that weights fit a model that was built later.

    Args:
        build: makes the Keras model.

    Raises:
        ImportError: Keras is not installed.
        RuntimeError: it runs on another backend.
        TypeError: something else was built.
        ValueError: the model does not know its inputs, and so has no variables yet.
    """

    def __init__(self, build: Callable[[], Any]) -> None:
        super().__init__()
        keras = import_keras()
        model = build()
        if not isinstance(model, keras.Model):
            raise TypeError(f"{NAME}: model must return a keras.Model, got {type(model).__name__}")
        if not model.built:
            raise ValueError(
                f"{NAME}: the model {model.name!r} has no variables yet: begin it with a "
                "keras.Input(shape), or call its build() with the shape of the features"
            )
        self._build = build
        # In a tuple, so that torch does not take it for a part with names of its own.
        self._model = (model,)
        for number, variable in enumerate(model.variables):
            self._take(f"{number}_{variable.name}", variable.value)

    @property
    def model(self) -> Any:
        """The Keras model."""
        return self._model[0]

    @override
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with import_keras().device(self._device()):
            return self.model(*args, training=self.training, **kwargs)

    def _take(self, name: str, value: Tensor) -> None:
        # What is learned and the state of random generators: parameters. Statistics, which a
        # refused step puts back: buffers.
        if value.requires_grad or not value.is_floating_point():
            self.register_parameter(name, value)  # type: ignore[arg-type]  (it is one)
        else:
            self.register_buffer(name, value)

    def _device(self) -> str:
        device = next((variable.value.device for variable in self.model.variables), None)
        return str(device or "cpu")

    @override
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> KerasModule:
        # In place, as the Keras model holds the same tensors.
        with torch.no_grad():
            for variable in self.model.variables:
                variable.value.data = fn(variable.value.data)
                if variable.value.grad is not None:
                    variable.value.grad = fn(variable.value.grad)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> KerasModule:
        # Keras would write the model to a file and read it again.
        copied = type(self)(copy.deepcopy(self._build, memo))
        memo[id(self)] = copied
        copied.load_state_dict(self.state_dict())
        copied.train(self.training)
        for mine, theirs in zip(self.parameters(), copied.parameters(), strict=True):
            theirs.requires_grad_(mine.requires_grad)
        return copied.to(self._device())

    def __reduce__(self) -> Any:
        return _rebuild, (self._build, self.state_dict(), self.training)


def import_keras() -> Any:
    """The package `keras`, on torch.

    Raises:
        ImportError: it is not installed.
        RuntimeError: it was imported with another backend.
    """
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras
    except ImportError as error:
        raise ImportError(
            f"{NAME} needs the package 'keras', version 3, which is not installed: {INSTALL}"
        ) from error
    backend = keras.config.backend()
    if backend != "torch":
        raise RuntimeError(
            f"{NAME} needs Keras on its torch backend, but it was imported with {backend!r}: set "
            "the environment variable KERAS_BACKEND=torch before the first import of keras"
        )
    return keras


def _rebuild(build: Callable[[], Any], state: dict[str, Tensor], training: bool) -> KerasModule:
    module = KerasModule(build)
    module.load_state_dict(state)
    return module.train(training)
