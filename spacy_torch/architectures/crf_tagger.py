"""`spacy-torch.CRFTagger.v1`: any encoder, and a chain of entity tags on top."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model, Ops
from thinc.types import Floats2d

from spacy_torch.architectures.encoder import Encoder, check_encoder, measure_labels
from spacy_torch.architectures.logits_model import build_around
from spacy_torch.architectures.tok2vec import collect_vectors
from spacy_torch.bridge.building import ModuleBuilder, build_sized
from spacy_torch.bridge.model import wrap_module
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.nn.crf_tagger import CRFTagger
from spacy_torch.nn.dropout import build_dropout
from spacy_torch.nn.structured.chain import TagScores


def build_crf_tagger(
    encoder: Encoder, *, dropout: float | None = None, runtime: Runtime | None = None
) -> Model[list[Doc], list[Floats2d]]:
    """Scores of entity tags, and of the transitions between them, for `torch_ner`.

    As a Thinc model it gives the scores of each token's tags, before any transition.

    Args:
        encoder: reads the tokens.
        dropout: of the token vectors; null follows `[training.dropout]`.
        runtime: device, precision and the reaction to NaN.
    """
    name = "spacy-torch.CRFTagger.v1"
    check_encoder(encoder, name=name)
    logits = wrap_module(
        partial(build_crf_module, encoder.build, width=encoder.width, dropout=dropout),
        name=f"{name} logits",
        featurize=encoder.featurize,
        collect=_collect,
        measure=partial(measure_labels, encoder=encoder),
        upstream=encoder.upstream,
        runtime=runtime,
    )
    return build_around(logits, _forward, name=name, logits_of="tag", tok2vec=encoder.upstream)


def build_crf_module(
    build_encoder: ModuleBuilder, *, width: int, dropout: float | None, n_labels: int, **sizes: Any
) -> CRFTagger:
    """The torch module of `build_crf_tagger`."""
    return CRFTagger(
        build_sized(build_encoder, sizes),
        width=width,
        n_labels=n_labels,
        dropout=build_dropout(dropout),
    )


def _collect(docs: list[Doc], scores: TagScores, ops: Ops) -> tuple[list[Floats2d], Any]:
    rows, spread = collect_vectors(docs, scores.emissions, ops)
    return rows, lambda d_rows: TagScores(spread(d_rows), None)  # type: ignore[arg-type]


def _forward(
    model: Model[list[Doc], list[Floats2d]], docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], Any]]:
    return model.get_ref("logits")(docs, is_train)
