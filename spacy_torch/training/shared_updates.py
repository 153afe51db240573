"""Components that step with the gradients of all ranks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any

from spacy.language import Language
from thinc.api import Model, Optimizer
from thinc.shims import PyTorchShim

from spacy_torch.bridge.shim import TorchShim
from spacy_torch.distributed.gradient_sum import GradientSum
from spacy_torch.distributed.world import NotTogetherError


def share_updates(
    nlp: Language,
    gradients: GradientSum,
    *,
    frozen: Collection[str] = (),
    is_idle: Callable[[], bool] = lambda: False,
) -> None:
    """Let each component that is trained add up its gradients over all ranks before a step.

    With one rank nothing is changed.

    Args:
        frozen: the components that training leaves alone.
        is_idle: whether a step is to be let through as it is.

    Raises:
        NotTogetherError: a component cannot be trained by several ranks; all are named.
    """
    if gradients.world.size == 1:
        return
    trained = find_trained(nlp, frozen=frozen)
    check_covered(trained)

    def add(model: Model[Any, Any]) -> None:
        if not is_idle():
            gradients.add(model)

    for _, pipe in trained:
        gradients.watch(pipe.model)
        finish = partial(_finish, pipe.finish_update, add=add, pipe=pipe)
        try:
            pipe.finish_update = finish
        except AttributeError:  # compiled, as spaCy's parser and ner are
            _add_before_step(pipe.model, add)


def find_trained(nlp: Language, *, frozen: Collection[str] = ()) -> list[tuple[str, Any]]:
    """The components, with their names, that spaCy's training loop steps."""
    return [
        (name, pipe)
        for name, pipe in nlp.pipeline
        if name not in frozen
        and getattr(pipe, "is_trainable", False)
        and getattr(pipe, "model", None) not in (None, True, False)
    ]


def check_covered(trained: Iterable[tuple[str, Any]]) -> None:
    """Name every component which several ranks would train wrongly, in a `NotTogetherError`."""
    problems = [
        f"{name!r} {problem}" for name, pipe in trained for problem in [_problem(pipe)] if problem
    ]
    if problems:
        raise NotTogetherError(
            f"not to be trained by several processes: {'; '.join(problems)}. Train with one "
            "process, or freeze these (training.frozen_components)"
        )


def _problem(pipe: Any) -> str | None:
    model = pipe.model
    if not isinstance(model, Model):
        return f"has a {type(model).__name__} as its model, whose gradients nobody can find"
    for node in model.walk():
        for shim in node.shims:
            if isinstance(shim, TorchShim):
                if callable(getattr(shim.module if shim.is_built else None, "answer", None)):
                    return "learns in closed form, without gradients that could be added up"
            elif isinstance(shim, PyTorchShim):
                # Each rank would decide for itself which steps overflowed.
                scaler: Any = shim._grad_scaler  # pyright: ignore[reportPrivateUsage]
                if scaler._enabled:
                    return (
                        "uses Thinc's mixed precision, which skips steps on single ranks (use "
                        'precision = "bf16" of spacy-torch.Runtime.v1)'
                    )
            else:
                return f"has layers behind a {type(shim).__name__}, not of torch or Thinc"
    return None


def _finish(
    finish_update: Callable[[Optimizer], None],
    sgd: Optimizer,
    *,
    add: Callable[[Model[Any, Any]], None],
    pipe: Any,
) -> None:
    add(pipe.model)
    finish_update(sgd)


def _add_before_step(model: Model[Any, Any], add: Callable[[Model[Any, Any]], None]) -> None:
    """Add up gradients in the model's own `finish_update`.

    Neither a compiled component nor a Thinc model lets a method be replaced, but a model may
    change its class for one without further fields.
    """
    kind = type(model)

    def finish_update(self: Model[Any, Any], optimizer: Optimizer) -> None:
        add(self)
        kind.finish_update(self, optimizer)

    model.__class__ = type(
        kind.__name__, (kind,), {"__slots__": (), "finish_update": finish_update}
    )
