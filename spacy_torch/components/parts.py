"""What a component accepts as its model and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from thinc.api import Model
from torch import nn

from spacy_torch.bridge.model import get_shim
from spacy_torch.components.losses import Loss

LogitsOf = Literal["text", "token", "tag", "span", "arc", "pair", "box"]


def check_model(name: str, model: object, *, logits_of: LogitsOf, architecture: str) -> None:
    """Hold a component's model against what the component reads from it.

    Args:
        name: the component's.
        logits_of: what the rows of the module's logits must be about: the model's attribute
            of the same name.
        architecture: one that would do, for the error.

    Raises:
        TypeError: it is no Thinc model, or wraps no torch module.
        ValueError: its logits are about something else.
    """
    step = f"use an architecture such as {architecture} in its [model] block"
    if not isinstance(model, Model):
        is_module = isinstance(model, nn.Module)
        what = f"a {type(model).__name__}" + (" (a torch module)" if is_module else "")
        raise TypeError(f"{name!r}: the model must be a Thinc Model, got {what}: {step}")
    if not model.has_ref("logits"):
        raise ValueError(
            f"{name!r}: the model {model.name!r} has no logits inside; {step}, or the stock "
            "component"
        )
    found = model.attrs.get("logits_of")
    if found != logits_of:
        raise ValueError(
            f"{name!r} needs a model that scores each {logits_of}, but {model.name!r} scores each "
            f"{found}: {step}"
        )
    get_shim(model.get_ref("logits"))


def check_any_label(name: str, labels: Sequence[str], *, step: str) -> None:
    """Raise a `ValueError` if a component has no labels; `step` says where they come from."""
    if not labels:
        raise ValueError(
            f"{name!r} needs at least one label, found none: {step}, pass labels= to "
            "initialize(), or call add_label()"
        )


def check_loss(name: str, loss: object) -> None:
    """Raise a `TypeError` for something that has not the two methods of a `Loss`."""
    if isinstance(loss, type) or not isinstance(loss, Loss):
        what = f"the class {loss.__name__}" if isinstance(loss, type) else repr(loss)
        raise TypeError(
            f"{name!r}: the loss must be an object with the two methods __call__(logits, targets, "
            f"weights, *, exclusive) and serves(*, exclusive), got {what}: return an instance of "
            "such a class from the function registered under @torch_losses"
        )


def check_serves(name: str, loss: Loss, *, exclusive: bool) -> None:
    """Raise a `ValueError` for a loss of the other kind of labels."""
    if not loss.serves(exclusive=exclusive):
        kind = "exclusive labels" if exclusive else "labels that do not exclude each other"
        raise ValueError(
            f"{name!r} has {kind}, which the loss {loss!r} does not serve: use "
            + ("spacy-torch.CrossEntropy.v1" if exclusive else "spacy-torch.BinaryCrossEntropy.v1")
            + " or spacy-torch.Focal.v1"
        )
