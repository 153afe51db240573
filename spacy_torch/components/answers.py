"""Tell a model that learns each answer at once what was answered, and take it back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from spacy.tokens import Doc
from thinc.api import Model
from torch import nn

from spacy_torch.bridge.model import get_shim

# How many documents of a pool are featurized at a time.
BATCH = 256


def answer(model: Model[Any, Any], docs: Sequence[Doc], targets: Any) -> None:
    """Let the module take in answers, if it is one that does.

    Args:
        model: made by `wrap_module`; its module may have `answer` and `forget`, as
            `FastClassifier` has.
        targets: an array of shape (batch, label): 1, 0, and NaN for what is not known.
    """
    module = _find(model, "answer")
    if module is None or not docs:
        return
    shim = get_shim(model)
    truth = torch.as_tensor(targets, device=shim.device)
    module.answer(_read(model, docs), truth)


def has_slow(model: Model[Any, Any]) -> bool:
    """Whether the module learns anything by gradient, be it all or what answers leave over."""
    module = _find(model, "answer")
    return module is None or any(value.requires_grad for value in module.parameters())


def forget(model: Model[Any, Any], docs: Sequence[Doc], *, name: str) -> None:
    """Take back what was answered about documents.

    Raises:
        TypeError: the module learns by gradient only, which cannot be undone.
    """
    module = _find(model, "forget")
    if module is None:
        raise TypeError(
            f"{name!r}: its model cannot take an answer back, as it learns by gradient only: use "
            "an architecture that learns answers at once, such as spacy-torch.FastTextCat.v1"
        )
    if docs:
        batch = _read(model, docs)
        module.forget(getattr(batch, "fast", batch).keys)


def is_guessing(model: Model[Any, Any]) -> bool:
    """Whether what was answered shows that the module only guesses; see `FastClassifier`.

    Not of one that learns by gradient only: it cannot say what it would without an answer.
    """
    module = _find(model, "is_guessing")
    return module is not None and module.is_guessing()


def read_rows(model: Model[Any, Any], docs: Sequence[Doc], *, name: str) -> Any:
    """What the module tells documents apart by, as an array of shape (batch, width).

    Raises:
        TypeError: the module learns by gradient only, and has nothing that stays as it is.
    """
    module = _find(model, "answer")
    if module is None:
        raise TypeError(
            f"{name!r}: its model has no vectors of documents that stay as they are: use an "
            "architecture that learns answers at once, such as spacy-torch.FastTextCat.v1"
        )
    batch = _read(model, docs)
    fast = getattr(module, "fast", module)
    return fast.read_rows(getattr(batch, "fast", batch).inputs).cpu().numpy()


def learn_pool(model: Model[Any, Any], docs: Iterable[Doc]) -> None:
    """Let the module learn from documents without annotations, if it is one that does."""
    module = _find(model, "learn_pool")
    if module is None:
        return
    docs = [doc for doc in docs if len(doc)]
    module.learn_pool(
        _read(model, docs[start : start + BATCH]) for start in range(0, len(docs), BATCH)
    )


def _find(model: Model[Any, Any], method: str) -> Any:
    shim = get_shim(model)
    module: nn.Module | None = shim.module if shim.is_built else None
    return module if callable(getattr(module, method, None)) else None


def _read(model: Model[Any, Any], docs: Sequence[Doc]) -> Any:
    return get_shim(model).take_batch(model.attrs["featurize"](docs))
