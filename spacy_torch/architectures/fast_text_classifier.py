"""`spacy-torch.FastTextCat.v1`: learns each answer at once, and slowly what that leaves over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_torch.architectures.bag_of_ngrams import round_up_rows
from spacy_torch.architectures.classifier import build_classifier
from spacy_torch.architectures.fast_slow import FastSlowFeatures, SlowPart, build_fast_slow
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.features.keys import text_keys
from spacy_torch.features.ngrams import HashedNgrams
from spacy_torch.nn.fast.pool_ngrams import PoolNgrams


def build_fast_text_classifier(
    *,
    exclusive_classes: bool,
    slow: Model[list[Doc], Floats2d] | None = None,
    ngram_sizes: list[int] = [1, 2],  # noqa: B006  (the config needs to see the default)
    ngram_attr: str = "LOWER",
    ngram_rows: int = 32768,
    width: int = 128,
    runtime: Runtime | None = None,
) -> Model[list[Doc], Floats2d]:
    """A ridge regression over what the pool's texts have in common, beside a network.

    For annotation: after fifty answers it knows what a network knows after hundreds. The
    directions that texts are told apart by come from texts without labels (`pool` in the
    component's initialization), so give it all that there are. Components of this package
    tell it the answers; in a stock component only `slow` learns.

    Args:
        exclusive_classes: exactly one label is true, or any number.
        slow: any text classifier of this package, such as `spacy-torch.TextCatEnsemble.v1`:
            it learns by gradient on top of the fast part. null: the fast part alone.
        ngram_sizes, ngram_attr, ngram_rows: as in `spacy-torch.TextCatBOW.v1`.
        width: how many directions of the pool are kept.
        runtime: device, precision and the reaction to NaN.
    """
    name = "spacy-torch.FastTextCat.v1"
    if width < 1:
        raise ValueError(f"{name}: width must be at least 1, got {width}")
    rows = round_up_rows(ngram_rows)
    slow_part = SlowPart.of(slow, name=name, exclusive_classes=exclusive_classes)
    features: Callable[[Sequence[Doc]], Any] = HashedNgrams(
        rows, sizes=ngram_sizes, attr=ngram_attr
    )
    measure: Callable[..., Mapping[str, Any]] | None = None
    if slow_part is not None:
        measure = slow_part.measure
    return build_classifier(
        partial(
            build_fast_slow,
            partial(PoolNgrams, rows=rows, width=width),
            slow_part.build if slow_part is not None else None,
            width=width,
            exclusive=exclusive_classes,
        ),
        FastSlowFeatures(
            text_keys, features, slow_part.featurize if slow_part is not None else None
        ),
        name=name,
        exclusive_classes=exclusive_classes,
        measure=measure,
        runtime=runtime,
    )
