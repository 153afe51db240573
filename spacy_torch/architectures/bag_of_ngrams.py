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
    rows: int = 262144,
    ngrams: list[int] = [1],  # noqa: B006  (the config needs to see the default)
    attr: str = "ORTH",
    scale: float = 1.0,
    normalize: bool = False,
    ngram_dropout: float | None = None,
    runtime: Runtime | None = None,
) -> Model[list[Doc], Floats2d]:
    """Score the n-grams of a text, each on its own, and add the scores up.

    The defaults are those of `spacy.TextCatBOW.v3`, and so is the size of the table: `rows`,
    rounded up to a power of two. See `HashedNgrams` and `BagOfNgrams`.
    """
    rows = round_up_rows(rows)
    return build_classifier(
        partial(BagOfNgrams, rows=rows, scale=scale, normalize=normalize, dropout=ngram_dropout),
        HashedNgrams(rows, sizes=ngrams, attr=attr),
        name="spacy-torch.TextCatBOW.v1",
        exclusive_classes=exclusive_classes,
        runtime=runtime,
    )


def round_up_rows(rows: int) -> int:
    """The next power of two: the size of the table that spaCy makes of `length`."""
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    return 2 ** (rows - 1).bit_length()
