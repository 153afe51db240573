"""What every text classifier's architecture shares: logits inside, spaCy's scores outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d
from torch import Tensor

from spacy_torch.architectures.encoder import MeasureDocs, measure_sample
from spacy_torch.architectures.logits_model import build_around
from spacy_torch.bridge.building import (
    ModuleBuilder,
    check_builder,
    describe_arguments,
    takes,
)
from spacy_torch.bridge.errors import ModuleOutputError
from spacy_torch.bridge.model import wrap_module
from spacy_torch.bridge.runtime import Runtime


def build_classifier(
    build: ModuleBuilder,
    featurize: Callable[..., Any],
    *,
    name: str,
    exclusive_classes: bool,
    measure: MeasureDocs | None = None,
    upstream: Model[Any, Any] | None = None,
    runtime: Runtime | None = None,
    skip_empty: bool = False,
) -> Model[list[Doc], Floats2d]:
    """A Thinc model from documents to the probability of each label.

    The module gives logits of shape (batch, label) and is built with the keyword
    `n_labels` once the labels are known. The outer model turns them into probabilities,
    as spaCy's own `textcat` and `textcat_multilabel` expect; its reference "logits" is
    the model inside. The gradient that comes in is taken as that of the logits
    (scores minus truth, the gradient of the cross-entropy).

    Raises:
        TypeError: the builder is a module, or does not take `n_labels`.
    """
    check_builder(build, name=name)
    if not takes(build, "n_labels"):
        raise TypeError(
            f"{name}: the module builder (argument `module`) must take the keyword n_labels, "
            "the number of labels, which is known only from the data, but it is "
            f"{describe_arguments(build)}: add n_labels to the signature and leave it unbound"
        )
    logits = wrap_module(
        build,
        name=f"{name} logits",
        featurize=featurize,
        check=partial(check_logits, name=name),
        measure=partial(_measure, measure=measure),
        upstream=upstream,
        runtime=runtime,
        skip_empty="n_labels" if skip_empty else None,
    )
    return build_around(
        logits,
        _score,
        name=name,
        logits_of="text",
        tok2vec=upstream,
        multi_label=not exclusive_classes,
    )


def check_logits(docs: list[Doc], logits: Any, sizes: Mapping[str, Any], *, name: str) -> None:
    """Hold what a module returned against what a classifier needs.

    Raises:
        ModuleOutputError: it is no float tensor with a row per document and a column
            per label.
    """
    shape = (len(docs), sizes["n_labels"])
    expected = (
        f"{name}: the module must return its logits, one float tensor of shape "
        f"(batch, label) = {shape}, but it returned"
    )
    if not isinstance(logits, Tensor):
        raise ModuleOutputError(f"{expected} a {type(logits).__name__}{_next_step(logits)}")
    if not logits.is_floating_point():
        raise ModuleOutputError(
            f"{expected} a tensor of type {logits.dtype}: return scores, before any argmax or "
            "threshold"
        )
    if logits.shape != shape:
        hint = "give one row per document"
        if logits.ndim == 2 and logits.shape[0] == shape[0]:
            hint = "give one column per label, sized by the argument n_labels"
        elif logits.ndim == 1 and len(logits) == shape[0]:
            hint = "give one column per label, sized by the argument n_labels, also if it is one"
        raise ModuleOutputError(f"{expected} the shape {tuple(logits.shape)}: {hint}")


def _score(
    model: Model[list[Doc], Floats2d], docs: list[Doc], is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], Any]]:
    logits, backprop = model.get_ref("logits")(docs, is_train)
    if model.attrs["multi_label"]:
        return model.ops.sigmoid(logits), backprop
    return model.ops.softmax(logits), backprop


def _next_step(returned: Any) -> str:
    if isinstance(returned, Mapping):
        return f" with the keys {sorted(map(str, returned))}: return the value that holds them"
    if isinstance(returned, (tuple, list)):
        if isinstance(returned, list) and all(isinstance(item, Tensor) for item in returned):
            return (
                f" of {len(returned)} tensors: return the one that holds them, or torch.stack(...)"
            )
        return f" of {len(returned)}: return the item that holds them"
    if returned is None:
        return ": end forward() with `return logits`"
    return ": return the tensor itself, before .numpy(), .tolist() or .item()"


def _measure(
    docs: Sequence[Doc] | None, Y: Floats2d, *, measure: MeasureDocs | None
) -> dict[str, Any]:
    return {"n_labels": int(Y.shape[1]), **measure_sample(docs, Y, measure=measure)}
