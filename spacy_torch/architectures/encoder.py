"""The encoder: what a head needs to know about the module that reads the tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model

from spacy_torch.bridge.building import ModuleBuilder


@dataclass(frozen=True)
class Encoder:
    """How to build a token encoder and how to feed it.

    Attributes:
        build: builds the module; called late, with those keyword sizes that it takes
            (see `measure`). The module maps a featurized batch to `Ragged` vectors, one
            row per token.
        featurize: documents -> the batch for the module, any nest of arrays and
            tensors. Must be picklable: a class instance or a module-level function.
            With `upstream`, called with the documents and the upstream vectors as
            `(values, lengths)` tensors.
        width: the size of the vectors.
        measure: documents -> keyword sizes that only the data knows, such as the width
            of the static vectors; stored with the weights.
        upstream: a Thinc model from documents to `list[Floats2d]` that runs first.
    """

    build: ModuleBuilder
    featurize: Callable[..., Any]
    width: int
    measure: Callable[[Sequence[Doc]], Mapping[str, int]] | None = None
    upstream: Model[Any, Any] | None = None
