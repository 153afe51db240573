"""`spacy-torch.TextCatEnsemble.v1`: a bag of n-grams beside a network, their logits added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_torch.architectures.bag_of_ngrams import round_up_rows
from spacy_torch.architectures.classifier import build_classifier
from spacy_torch.architectures.encoder import Encoder, check_encoder
from spacy_torch.architectures.hash_embed_cnn import build_hash_embed_cnn
from spacy_torch.architectures.text_classifier import build_pooled_module
from spacy_torch.bridge.building import ModuleBuilder
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.features.ngrams import HashedNgrams
from spacy_torch.nn.bag_of_ngrams import BagOfNgrams
from spacy_torch.nn.pooling import Pooling
from spacy_torch.nn.text_classifier import EnsembleClassifier


def build_ensemble_classifier(
    *,
    exclusive_classes: bool,
    encoder: Encoder | None = None,
    pooling: list[Pooling] = ["max"],  # noqa: B006  (the config needs to see the default)
    dropout: float | None = None,
    ngram_sizes: list[int] = [1],  # noqa: B006
    ngram_attr: str = "LOWER",
    ngram_rows: int = 262144,
    ngram_scale: float = 150.0,
    ngram_dropout: float | None = None,
    runtime: Runtime | None = None,
) -> Model[list[Doc], Floats2d]:
    """Learn from the first examples by n-grams, and from the rest by a network as well.

    Args:
        exclusive_classes: exactly one label is true, or any number.
        encoder: reads the tokens for the network; by default a small hash-embedding CNN
            of the shape in spaCy's own ensemble.
        pooling: see `TextClassifier`. The largest values tell apart more labels than the
            mean, beside a bag that sums already.
        dropout: of the pooled vector; null follows `[training.dropout]`.
        ngram_sizes, ngram_attr, ngram_rows: as in `spacy-torch.TextCatBOW.v1`.
        ngram_scale: likewise, of a normalized bag. The default learns from a few
            examples, for an annotation session; for a training of many epochs set 30.
        ngram_dropout: of single n-grams; null follows `[training.dropout]`. A high rate
            (0.5) leaves more for the network to learn.
        runtime: device, precision and the reaction to NaN.
    """
    if encoder is None:
        encoder = build_hash_embed_cnn(
            width=64,
            depth=2,
            attrs=["NORM", "LOWER", "PREFIX", "SUFFIX", "SHAPE"],
            rows=[2000, 2000, 500, 1000, 500],
        )
    name = "spacy-torch.TextCatEnsemble.v1"
    check_encoder(encoder, name=name)
    rows = round_up_rows(ngram_rows)
    bag = partial(BagOfNgrams, rows=rows, scale=ngram_scale, normalize=True, dropout=ngram_dropout)
    network = partial(
        build_pooled_module,
        encoder.build,
        width=encoder.width,
        pooling=tuple(pooling),
        dropout=dropout,
    )
    return build_classifier(
        partial(build_ensemble_module, bag, network),
        EnsembleFeatures(HashedNgrams(rows, sizes=ngram_sizes, attr=ngram_attr), encoder.featurize),
        name=name,
        exclusive_classes=exclusive_classes,
        measure=encoder.measure,
        upstream=encoder.upstream,
        runtime=runtime,
    )


def build_ensemble_module(
    bag: ModuleBuilder, network: ModuleBuilder, *, n_labels: int, **sizes: Any
) -> EnsembleClassifier:
    """The torch module of `build_ensemble_classifier`."""
    return EnsembleClassifier(
        bag=bag(n_labels=n_labels), network=network(n_labels=n_labels, **sizes)
    )


class EnsembleFeatures:
    """The n-grams of a batch and what its encoder reads, as a pair."""

    def __init__(self, ngrams: HashedNgrams, encoder: Callable[..., Any]) -> None:
        self.ngrams = ngrams
        self.encoder = encoder

    def __call__(self, docs: Sequence[Doc], *vectors: Any) -> tuple[Any, Any]:
        """Featurize the documents for both; `vectors` come from upstream, if there is any."""
        return self.ngrams(docs), self.encoder(docs, *vectors)
