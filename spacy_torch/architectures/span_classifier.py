"""`spacy-torch.SpanClassifier.v1`: any encoder, and a score of each label for each span."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from spacy.tokens import Doc
from thinc.api import Model, Ops
from thinc.types import ArgsKwargs, Floats2d, Ragged

from spacy_torch.architectures.encoder import Encoder, check_encoder, measure_sample
from spacy_torch.architectures.logits_model import build_around
from spacy_torch.bridge.arrays import to_arrays
from spacy_torch.bridge.building import ModuleBuilder, build_sized
from spacy_torch.bridge.model import wrap_module
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.features.suggestions import Suggestions
from spacy_torch.nn.dropout import build_dropout
from spacy_torch.nn.span_classifier import SpanClassifier, SpanLogits
from spacy_torch.nn.span_features import SpanPooling
from spacy_torch.nn.span_proposer import SpanProposer

DocsAndSpans = tuple[list[Doc], Ragged]


def build_span_classifier(
    encoder: Encoder,
    *,
    exclusive_classes: bool = False,
    hidden_width: int = 128,
    pooling: list[SpanPooling] = ["first", "last"],  # noqa: B006  (seen by the config)
    n_sizes: int = 16,
    proposer: Callable[..., SpanProposer] | None = None,
    dropout: float | None = None,
    runtime: Runtime | None = None,
) -> Model[DocsAndSpans, Floats2d]:
    """The probability of each label for each suggested span.

    For `torch_spancat`, and without a proposer in place of `spacy.SpanCategorizer.v1` for
    spaCy's own `spancat` and, with exclusive classes, `spancat_singlelabel`. The gradient
    that comes in is taken as that of the logits.

    Args:
        encoder: reads the tokens.
        exclusive_classes: a span has one label or none.
        pooling: "mean" and "max" may help with long spans. On the short ones of
            Restaurants-8k they gained nothing (dev, one seed, three passes: F 91.0 with the
            two ends, 90.4 with "mean" as well) and cost a third of the speed in training.
        proposer: a learned suggester, such as `spacy-torch.SpanProposer.v1`.
        dropout: of the span vectors; null follows `[training.dropout]`.
        runtime: device, precision and the reaction to NaN.
    """
    name = "spacy-torch.SpanClassifier.v1"
    check_encoder(encoder, name=name)
    upstream = None if encoder.upstream is None else _build_on_docs(encoder.upstream, encoder.width)
    logits = wrap_module(
        partial(
            build_span_module,
            encoder.build,
            width=encoder.width,
            hidden_width=hidden_width,
            pooling=tuple(pooling),
            n_sizes=n_sizes,
            build_proposer=proposer,
            dropout=dropout,
        ),
        name=f"{name} logits",
        featurize=partial(_featurize, featurize=encoder.featurize),
        collect=_collect,
        measure=partial(_measure, encoder=encoder),
        upstream=upstream,
        runtime=runtime,
    )
    return build_around(
        logits,
        _score,
        name=name,
        logits_of="span",
        tok2vec=encoder.upstream,
        multi_label=not exclusive_classes,
        has_proposer=proposer is not None,
    )


def build_span_module(
    build_encoder: ModuleBuilder,
    *,
    width: int,
    hidden_width: int,
    pooling: Sequence[SpanPooling],
    n_sizes: int,
    build_proposer: Callable[..., SpanProposer] | None,
    dropout: float | None,
    n_labels: int,
    **sizes: Any,
) -> SpanClassifier:
    """The torch module of `build_span_classifier`."""
    return SpanClassifier(
        build_sized(build_encoder, sizes),
        width=width,
        n_labels=n_labels,
        hidden_width=hidden_width,
        pooling=pooling,
        n_sizes=n_sizes,
        proposer=None if build_proposer is None else build_proposer(width=width),
        dropout=build_dropout(dropout),
    )


def _featurize(
    docs_and_spans: tuple[Sequence[Doc], Any], *upstream: Any, featurize: Callable[..., Any]
) -> ArgsKwargs:
    docs, spans = docs_and_spans
    if not isinstance(spans, Suggestions):
        spans = Suggestions.read(spans, docs)
    return ArgsKwargs((featurize(docs, *upstream), spans.to_batch()), {})


def _collect(
    docs_and_spans: DocsAndSpans, outputs: SpanLogits, ops: Ops
) -> tuple[Floats2d, Callable[[Floats2d], SpanLogits]]:
    if outputs.candidates is not None:
        raise ValueError(
            "The model has a proposer, which chooses among the suggested spans, but a score is "
            'needed for each of them: use the component "torch_spancat", or leave out '
            "[model.proposer]"
        )

    def spread(d_values: Floats2d) -> SpanLogits:
        return SpanLogits(d_values, None)  # type: ignore[arg-type]

    return to_arrays(outputs.values, ops), spread


def _build_on_docs(tok2vec: Model[list[Doc], list[Floats2d]], width: int) -> Model[Any, Any]:
    """The tok2vec of the documents alone, where documents and spans come in."""
    return Model(
        "spacy-torch.docs_of_spans",
        _run_on_docs,
        init=_init_on_docs,
        layers=[tok2vec],
        dims={"nO": width},
    )


def _run_on_docs(
    model: Model[Any, Any], docs_and_spans: tuple[list[Doc], Any], is_train: bool
) -> tuple[list[Floats2d], Callable[[list[Floats2d]], Any]]:
    docs, _ = docs_and_spans
    if any(len(doc) for doc in docs):
        return _get_tok2vec(model)(docs, is_train)
    # On documents without any tokens Thinc's layers fail.
    return [model.ops.alloc2f(0, model.get_dim("nO")) for _ in docs], lambda d_vectors: None


def _init_on_docs(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    _get_tok2vec(model).initialize(X if X is None else X[0])


def _get_tok2vec(model: Model[Any, Any]) -> Model[list[Doc], list[Floats2d]]:
    return cast("Model[list[Doc], list[Floats2d]]", model.layers[0])


def _measure(X: DocsAndSpans | None, Y: Floats2d, *, encoder: Encoder) -> dict[str, int]:
    docs = None if X is None else X[0]
    return {"n_labels": int(Y.shape[1]), **measure_sample(docs, Y, measure=encoder.measure)}


def _score(
    model: Model[DocsAndSpans, Floats2d], docs_and_spans: DocsAndSpans, is_train: bool
) -> tuple[Floats2d, Callable[[Floats2d], Any]]:
    logits, backprop = model.get_ref("logits")(docs_and_spans, is_train)
    if model.attrs["multi_label"]:
        return model.ops.sigmoid(logits), backprop
    return (model.ops.softmax(logits) if len(logits) else logits), backprop
