"""`spacy-torch.Tok2Vec.v1`: an encoder as the tok2vec of any stock component."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn, cast

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
    model = wrap_module(
        encoder.build,
        name=name,
        featurize=encoder.featurize,
        collect=collect_vectors,
        check=partial(check_encoded, name=name, width=encoder.width),
        measure=partial(_measure, encoder=encoder),
        upstream=encoder.upstream,
        runtime=runtime,
        width=encoder.width,
    )
    # spaCy's parser and ner ask for it before they initialize what they were given.
    model.attrs["resize_output"] = _refuse_labels
    return model


def _measure(docs: Sequence[Doc] | None, Y: Any, *, encoder: Encoder) -> dict[str, Any]:
    if Y is not None:
        _refuse_labels()
    return measure_sample(docs, Y, measure=encoder.measure)


def _refuse_labels(*_: Any) -> NoReturn:
    raise ValueError(
        "spacy-torch.Tok2Vec.v1 gives vectors and no scores of labels: it is the tok2vec of a "
        'model, such as the [model.tok2vec] block of @architectures = "spacy.Tagger.v2", or '
        "the whole model of the component tok2vec"
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
