"""`spacy-torch.TextCat.v1`: any encoder, pooled, and one linear layer."""

from __future__ import annotations

from functools import partial
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_torch.architectures.classifier import build_classifier
from spacy_torch.architectures.encoder import Encoder, check_encoder
from spacy_torch.bridge.building import ModuleBuilder, build_sized
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.nn.dropout import build_dropout
from spacy_torch.nn.pooling import Pooling
from spacy_torch.nn.text_classifier import TextClassifier


def build_text_classifier(
    encoder: Encoder,
    *,
    exclusive_classes: bool,
    pooling: list[Pooling] = ["mean"],  # noqa: B006  (the config needs to see the default)
    dropout: float | None = None,
    runtime: Runtime | None = None,
) -> Model[list[Doc], Floats2d]:
    """Encode the tokens, pool them, score the labels."""
    name = "spacy-torch.TextCat.v1"
    check_encoder(encoder, name=name)
    return build_classifier(
        partial(
            build_pooled_module,
            encoder.build,
            width=encoder.width,
            pooling=tuple(pooling),
            dropout=dropout,
        ),
        encoder.featurize,
        name=name,
        exclusive_classes=exclusive_classes,
        measure=encoder.measure,
        upstream=encoder.upstream,
        runtime=runtime,
    )


def build_pooled_module(
    build_encoder: ModuleBuilder,
    *,
    width: int,
    pooling: tuple[Pooling, ...],
    dropout: float | None,
    n_labels: int,
    **sizes: Any,
) -> TextClassifier:
    """The torch module of `build_text_classifier`."""
    return TextClassifier(
        build_sized(build_encoder, sizes),
        width=width,
        n_labels=n_labels,
        pooling=pooling,
        dropout=build_dropout(dropout),
    )
