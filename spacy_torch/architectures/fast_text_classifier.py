"""`spacy-torch.FastTextCat.v1`: learns each answer at once, and slowly what that leaves over."""

from __future__ import annotations

from functools import partial

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_torch.architectures.bag_of_ngrams import round_up_rows
from spacy_torch.architectures.classifier import build_classifier
from spacy_torch.architectures.encoder import Encoder
from spacy_torch.architectures.fast_encoder import FastPart, measure_both, read_encoder
from spacy_torch.architectures.fast_slow import FastSlowFeatures, SlowPart, build_fast_slow
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.features.keys import text_keys
from spacy_torch.features.ngrams import HashedNgrams
from spacy_torch.nn.fast.logistic import LogisticRegression
from spacy_torch.nn.fast.pool_ngrams import PoolNgrams


def build_fast_text_classifier(
    *,
    exclusive_classes: bool,
    encoder: Encoder | None = None,
    slow: Model[list[Doc], Floats2d] | None = None,
    ngram_sizes: list[int] = [1, 2],  # noqa: B006  (the config needs to see the default)
    ngram_attr: str = "LOWER",
    ngram_rows: int = 32768,
    width: int = 128,
    cache_mb: float = 64.0,
    runtime: Runtime | None = None,
) -> Model[list[Doc], Floats2d]:
    """A regression over what the pool's texts have in common, beside a network.

    For annotation: after fifty answers it knows what a network knows after hundreds. The
    directions that texts are told apart by come from texts without labels (`pool` in the
    component's initialization), so give it all that there are. Components of this package
    tell it the answers; in a stock component only `slow` learns.

    Args:
        exclusive_classes: exactly one label is true, or any number.
        encoder: a frozen one, such as `spacy-torch.HFTransformer.v1` with `freeze = true`: the
            mean of its vectors takes the place of the pool's directions, for which then neither
            a pool nor n-grams are needed, and of exclusive classes logistic regression that of
            ridge regression. null: the pool's directions.
        slow: any text classifier of this package, such as `spacy-torch.TextCatEnsemble.v1`:
            it learns by gradient on top of the fast part. null: the fast part alone.
        ngram_sizes, ngram_attr, ngram_rows: as in `spacy-torch.TextCatBOW.v1`.
        width: how many directions of the pool are kept.
        cache_mb: how much is kept of the encoder's vectors, in megabytes.
        runtime: device, precision and the reaction to NaN.

    Raises:
        ValueError: the encoder learns by gradient (this is found out at initialization), or
            needs a Thinc model before it.
    """
    name = "spacy-torch.FastTextCat.v1"
    if width < 1:
        raise ValueError(f"{name}: width must be at least 1, got {width}")
    slow_part = SlowPart.of(slow, name=name, exclusive_classes=exclusive_classes)
    fast_part = (
        _read_ngrams(round_up_rows(ngram_rows), sizes=ngram_sizes, attr=ngram_attr, width=width)
        if encoder is None
        else read_encoder(encoder, name=name, cache_mb=cache_mb)
    )
    return build_classifier(
        partial(
            build_fast_slow,
            fast_part.build,
            slow_part.build if slow_part is not None else None,
            width=fast_part.width,
            exclusive=exclusive_classes,
            # On what an encoder knows of texts, ridge regression is behind with many labels; on
            # n-grams it is a little ahead while there are few answers.
            regression=LogisticRegression() if encoder is not None and exclusive_classes else None,
        ),
        FastSlowFeatures(
            text_keys, fast_part.featurize, slow_part.featurize if slow_part is not None else None
        ),
        name=name,
        exclusive_classes=exclusive_classes,
        measure=partial(
            measure_both, fast=fast_part.measure, slow=slow_part.measure if slow_part else None
        ),
        runtime=runtime,
    )


def _read_ngrams(rows: int, *, sizes: list[int], attr: str, width: int) -> FastPart:
    return FastPart(
        partial(PoolNgrams, rows=rows, width=width),
        HashedNgrams(rows, sizes=sizes, attr=attr),
        width,
        None,
    )
