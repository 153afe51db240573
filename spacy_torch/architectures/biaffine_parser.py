"""`spacy-torch.BiaffineParser.v1`: any encoder, and scorers of arcs and their labels."""

from __future__ import annotations

from functools import partial
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model

from spacy_torch.architectures.encoder import Encoder, check_encoder, measure_labels
from spacy_torch.architectures.logits_model import build_around
from spacy_torch.bridge.building import ModuleBuilder, build_sized
from spacy_torch.bridge.model import wrap_module
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.nn.biaffine_parser import BiaffineParser
from spacy_torch.nn.dropout import build_dropout


def build_biaffine_parser(
    encoder: Encoder,
    *,
    arc_width: int = 128,
    label_width: int = 32,
    dropout: float | None = None,
    runtime: Runtime | None = None,
) -> Model[list[Doc], Any]:
    """The factors of arc and label scores, for `torch_parser`.

    Args:
        encoder: reads the tokens.
        dropout: of the token vectors and what is computed from them; null follows
            `[training.dropout]`.
        runtime: device, precision and the reaction to NaN.
    """
    name = "spacy-torch.BiaffineParser.v1"
    check_encoder(encoder, name=name)
    logits = wrap_module(
        partial(
            build_parser_module,
            encoder.build,
            width=encoder.width,
            arc_width=arc_width,
            label_width=label_width,
            dropout=dropout,
        ),
        name=f"{name} logits",
        featurize=encoder.featurize,
        measure=partial(measure_labels, encoder=encoder),
        upstream=encoder.upstream,
        runtime=runtime,
    )
    return build_around(logits, _forward, name=name, logits_of="arc", tok2vec=encoder.upstream)


def build_parser_module(
    build_encoder: ModuleBuilder,
    *,
    width: int,
    arc_width: int,
    label_width: int,
    dropout: float | None,
    n_labels: int,
    **sizes: Any,
) -> BiaffineParser:
    """The torch module of `build_biaffine_parser`."""
    return BiaffineParser(
        build_sized(build_encoder, sizes),
        width=width,
        arc_width=arc_width,
        label_width=label_width,
        n_labels=n_labels,
        dropout=build_dropout(dropout),
    )


def _forward(model: Model[list[Doc], Any], docs: list[Doc], is_train: bool) -> Any:
    return model.get_ref("logits")(docs, is_train)
