"""`spacy-torch.Tok2Vec.v1`: an encoder as the tok2vec of any stock component."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from spacy.tokens import Doc
from thinc.api import Model, Ops
from thinc.types import Floats2d, Ints1d

from spacy_torch.architectures.encoder import (
    Encoder,
    check_encoded,
    check_encoder,
    measure_sample,
)
from spacy_torch.bridge.arrays import to_arrays
from spacy_torch.bridge.model import wrap_module
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.nn.ragged import Ragged


def build_tok2vec(
    encoder: Encoder, *, runtime: Runtime | None = None
) -> Model[list[Doc], list[Floats2d]]:
    """One vector per token, for `tok2vec` and its listeners or inside any stock model."""
    name = "spacy-torch.Tok2Vec.v1"
    check_encoder(encoder, name=name)
    return wrap_module(
        encoder.build,
        name=name,
        featurize=encoder.featurize,
        collect=collect_vectors,
        check=partial(check_encoded, name=name, width=encoder.width),
        measure=partial(measure_sample, measure=encoder.measure),
        upstream=encoder.upstream,
        runtime=runtime,
        width=encoder.width,
    )


def collect_vectors(docs: list[Doc], outputs: Ragged, ops: Ops) -> tuple[list[Floats2d], Any]:
    """A module's rows per token as one array per document, and the way back."""
    lengths = [len(doc) for doc in docs]
    values = to_arrays(outputs.values, ops)

    def spread(d_vectors: list[Floats2d]) -> Ragged:
        # Thinc makes an array without columns of documents without tokens.
        d_values = ops.flatten(d_vectors) if len(values) else values
        return Ragged(d_values, None)  # type: ignore[arg-type]

    return ops.unflatten(values, cast("Ints1d", lengths)), spread
