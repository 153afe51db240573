"""`spacy-torch.TextCatBOW.v1`: a linear classifier over hashed n-grams."""

from __future__ import annotations

from functools import partial

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_torch.architectures.classifier import build_classifier
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.features.ngrams import HashedNgrams
from spacy_torch.nn.bag_of_ngrams import BagOfNgrams


def build_bow_classifier(
    *,
    exclusive_classes: bool,
    ngram_sizes: list[int] = [1],  # noqa: B006  (the config needs to see the default)
    ngram_attr: str = "ORTH",
    ngram_rows: int = 262144,
    ngram_scale: float = 1.0,
    ngram_dropout: float | None = 0.0,
    normalize: bool = False,
    runtime: Runtime | None = None,
) -> Model[list[Doc], Floats2d]:
    """Score the n-grams of a text, each on its own, and add the scores up.

    The defaults are those of `spacy.TextCatBOW.v3`, which has no dropout.

    Args:
        exclusive_classes: exactly one label is true, or any number.
        ngram_sizes: how many tokens an n-gram has, each size named: [1, 2] is words and
            pairs of words.
        ngram_attr: the token attribute that n-grams are made of.
        ngram_rows: the size of the hash table, rounded up to a power of two.
        ngram_scale: what the sum of an n-gram's weights is multiplied with; see
            `BagOfNgrams`.
        ngram_dropout: of single n-grams; null follows `[training.dropout]`.
        normalize: divide the sum by the root of the number of its terms.
        runtime: device, precision and the reaction to NaN.
    """
    rows = round_up_rows(ngram_rows)
    return build_classifier(
        partial(
            BagOfNgrams, rows=rows, scale=ngram_scale, normalize=normalize, dropout=ngram_dropout
        ),
        HashedNgrams(rows, sizes=ngram_sizes, attr=ngram_attr),
        name="spacy-torch.TextCatBOW.v1",
        exclusive_classes=exclusive_classes,
        runtime=runtime,
    )


def round_up_rows(rows: int) -> int:
    """The next power of two: the size of the table that spaCy makes of `length`."""
    if rows < 1:
        raise ValueError(f"ngram_rows must be at least 1, got {rows}")
    return 2 ** (rows - 1).bit_length()
