"""`spacy-torch.RelationClassifier.v1`: any encoder, and a reading of each pair of spans."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from spacy.tokens import Doc
from thinc.api import Model, Ops
from thinc.types import Floats2d, Ints1d

from spacy_torch.architectures.encoder import Encoder, check_encoder, measure_labels
from spacy_torch.architectures.logits_model import build_around
from spacy_torch.bridge.arrays import to_arrays
from spacy_torch.bridge.building import ModuleBuilder, build_sized
from spacy_torch.bridge.model import wrap_module
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.features.span_pairs import Candidates, PairFeatures
from spacy_torch.nn.dropout import build_dropout
from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.relation_classifier import RelationClassifier


def build_relation_classifier(
    encoder: Encoder,
    candidates: Candidates,
    *,
    exclusive_classes: bool = True,
    hidden_width: int = 256,
    window: int = 1,
    context: int = 3,
    max_distance: int = 30,
    distance_width: int = 32,
    dropout: float | None = None,
    runtime: Runtime | None = None,
) -> Model[list[Doc], list[Floats2d]]:
    """The probability of each label for each pair of spans that may be related.

    For `torch_relations`. The model's attribute "candidates" finds the pairs, in the order
    of the rows; with `exclusive_classes` the first column is that of unrelated spans. The
    gradient that comes in is taken as that of the logits.

    Args:
        encoder: reads the tokens.
        candidates: a Doc -> the pairs of spans that may be related.
        exclusive_classes: a pair has one label or none, rather than any number.
        dropout: of the vectors; null follows `[training.dropout]`.
        runtime: device, precision and the reaction to NaN.

    Raises:
        TypeError: the encoder is none, or `candidates` cannot be called.
    """
    name = "spacy-torch.RelationClassifier.v1"
    check_encoder(encoder, name=name)
    if not callable(candidates):
        raise TypeError(
            f"{name}: candidates must be a function from a Doc to pairs of its spans, got "
            f'{candidates!r}: use @misc = "spacy-torch.EntityPairs.v1"'
        )
    logits = wrap_module(
        partial(
            build_pair_module,
            encoder.build,
            width=encoder.width,
            exclusive=exclusive_classes,
            hidden_width=hidden_width,
            window=window,
            context=context,
            max_distance=max_distance,
            distance_width=distance_width,
            dropout=dropout,
        ),
        name=f"{name} logits",
        featurize=PairFeatures(encoder.featurize, candidates),
        collect=_collect_rows,
        measure=partial(measure_labels, encoder=encoder),
        upstream=encoder.upstream,
        runtime=runtime,
    )
    return build_around(
        logits,
        _score,
        name=name,
        logits_of="pair",
        tok2vec=encoder.upstream,
        multi_label=not exclusive_classes,
        candidates=candidates,
    )


def build_pair_module(
    build_encoder: ModuleBuilder,
    *,
    width: int,
    exclusive: bool,
    hidden_width: int,
    window: int,
    context: int,
    max_distance: int,
    distance_width: int,
    dropout: float | None,
    n_labels: int,
    **sizes: Any,
) -> RelationClassifier:
    """The torch module of `build_relation_classifier`."""
    return RelationClassifier(
        build_sized(build_encoder, sizes),
        width=width,
        n_labels=n_labels,
        exclusive=exclusive,
        hidden_width=hidden_width,
        window=window,
        context=context,
        max_distance=max_distance,
        distance_width=distance_width,
        dropout=build_dropout(dropout),
    )


def _collect_rows(docs: list[Doc], outputs: Ragged, ops: Ops) -> tuple[list[Floats2d], Any]:
    lengths = outputs.lengths.tolist()
    values = to_arrays(outputs.values, ops)

    def spread(d_rows: list[Floats2d]) -> Ragged:
        # Thinc makes an array without columns of documents without pairs.
        return Ragged(ops.flatten(d_rows) if len(values) else values, None)  # type: ignore[arg-type]

    return ops.unflatten(values, cast("Ints1d", lengths)), spread


def _score(
    model: Model[list[Doc], list[Floats2d]], docs: list[Doc], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], Any]]:
    logits, backprop = model.get_ref("logits")(docs, is_train)
    scale = model.ops.sigmoid if model.attrs["multi_label"] else model.ops.softmax
    return [scale(rows) if len(rows) else rows for rows in logits], backprop
