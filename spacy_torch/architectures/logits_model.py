"""The outer model of every architecture: a wrapped module's logits, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thinc.api import Model

from spacy_torch.architectures.truth import check_truth
from spacy_torch.bridge.model import get_shim


def build_around(
    logits: Model[Any, Any],
    forward: Callable[..., Any],
    *,
    name: str,
    logits_of: str,
    tok2vec: Model[Any, Any] | None,
    **attrs: Any,
) -> Model[Any, Any]:
    """A Thinc model around another one that `wrap_module` made, with room for labels added later.

    Args:
        logits: the model inside, found again as the reference "logits".
        forward: the outer model's; gives what stock components expect.
        name: the architecture's, stored with the weights.
        logits_of: what the rows of the logits are about; components look at it.
        tok2vec: the model that runs first, if there is any.
        attrs: what else components and spaCy ask the model for.
    """
    get_shim(logits).name = name
    return Model(
        name,
        forward,
        init=_init,
        layers=[logits],
        # Never set: Thinc would refuse to load weights with another number of labels.
        dims={"nO": None},
        refs={"logits": logits, "tok2vec": tok2vec},
        attrs={**attrs, "logits_of": logits_of, "resize_output": resize_output},
    )


def resize_output(model: Model[Any, Any], n_labels: int) -> Model[Any, Any]:
    """Make room for labels added after initialization; what was learned stays.

    Before initialization there is nothing to resize: the number comes with the data.
    """
    shim = get_shim(model.get_ref("logits"))
    if shim.is_built:
        shim.resize({**shim.sizes, "n_labels": n_labels})
    return model


def _init(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    check_truth(X, Y, name=model.name, logits_of=model.attrs["logits_of"])
    model.get_ref("logits").initialize(X, Y)
