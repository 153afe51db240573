"""`spacy-torch.TokenClassifier.v1`: any encoder, and one linear layer on each token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_torch.architectures.encoder import Encoder, check_encoder, measure_sample
from spacy_torch.architectures.logits_model import build_around
from spacy_torch.architectures.tok2vec import collect_vectors
from spacy_torch.bridge.building import ModuleBuilder, build_sized
from spacy_torch.bridge.model import wrap_module
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.nn.dropout import build_dropout
from spacy_torch.nn.token_classifier import TokenClassifier


def build_token_classifier(
    encoder: Encoder, *, dropout: float | None = None, runtime: Runtime | None = None
) -> Model[list[Doc], list[Floats2d]]:
    """The probability of each label for each token.

    For `torch_tagger`, `torch_morphologizer` and `torch_senter`, and in place of
    `spacy.Tagger.v2` for spaCy's own `tagger`, `morphologizer`, `senter` and
    `trainable_lemmatizer`. The gradient that comes in is taken as that of the logits.

    Args:
        encoder: reads the tokens.
        dropout: of the token vectors; null follows `[training.dropout]`.
        runtime: device, precision and the reaction to NaN.
    """
    name = "spacy-torch.TokenClassifier.v1"
    check_encoder(encoder, name=name)
    logits = wrap_module(
        partial(build_token_module, encoder.build, width=encoder.width, dropout=dropout),
        name=f"{name} logits",
        featurize=encoder.featurize,
        collect=collect_vectors,
        measure=partial(_measure, encoder=encoder),
        upstream=encoder.upstream,
        runtime=runtime,
    )
    return build_around(logits, _score, name=name, logits_of="token", tok2vec=encoder.upstream)


def build_token_module(
    build_encoder: ModuleBuilder, *, width: int, dropout: float | None, n_labels: int, **sizes: Any
) -> TokenClassifier:
    """The torch module of `build_token_classifier`."""
    return TokenClassifier(
        build_sized(build_encoder, sizes),
        width=width,
        n_labels=n_labels,
        dropout=build_dropout(dropout),
    )


def _measure(
    docs: Sequence[Doc] | None, Y: Sequence[Floats2d], *, encoder: Encoder
) -> dict[str, Any]:
    # A document without tokens has an array without columns.
    n_labels = max((rows.shape[-1] for rows in Y if rows.ndim == 2), default=0)
    return {"n_labels": int(n_labels), **measure_sample(docs, Y, measure=encoder.measure)}


def _score(
    model: Model[list[Doc], list[Floats2d]], docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], Any]]:
    logits, backprop = model.get_ref("logits")(docs, is_train)
    return [model.ops.softmax(rows) if len(rows) else rows for rows in logits], backprop
