"""`spacy-torch.HashEmbedCNN.v1`: spaCy's standard token encoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from spacy.tokens import Doc

from spacy_torch.architectures.encoder import Encoder
from spacy_torch.features.tokens import HashedTokens, vectors_width
from spacy_torch.nn.hash_embed_cnn import HashEmbedCNN


def build_hash_embed_cnn(
    *,
    width: int = 96,
    depth: int = 4,
    attrs: list[str] = ["NORM", "PREFIX", "SUFFIX", "SHAPE"],  # noqa: B006  (seen by the config)
    rows: list[int] = [2000, 1000, 1000, 1000],  # noqa: B006
    window: int = 1,
    pieces: int = 3,
    static_vectors: bool = False,
    dropout: float | None = None,
    word_dropout: float = 0.0,
) -> Encoder:
    """Hash embeddings of each token's attributes and convolutions over its neighbours.

    The defaults are those of `spacy.HashEmbedCNN.v2`; `rows` gives the table size of each
    of the `attrs`.
    """
    if len(rows) != len(attrs):
        raise ValueError(
            f"rows must give one table size for each of attrs, got {len(rows)} for {len(attrs)}: "
            f"rows = {rows}, attrs = {attrs}"
        )
    return Encoder(
        build=partial(
            HashEmbedCNN,
            rows=tuple(rows),
            width=width,
            depth=depth,
            window=window,
            pieces=pieces,
            dropout=dropout,
            word_dropout=word_dropout,
        ),
        featurize=HashedTokens(attrs, rows, static_vectors=static_vectors),
        width=width,
        measure=measure_vectors if static_vectors else None,
    )


def measure_vectors(docs: Sequence[Doc]) -> dict[str, int]:
    """The width of the static vectors of these documents' vocabulary.

    Raises:
        ValueError: there are no documents, or the vocabulary has no vectors.
    """
    width = vectors_width(docs)
    if not width:
        raise ValueError(
            "static_vectors = true, but the vocabulary has no vectors: name a pipeline that "
            "has some in [initialize] vectors, or set static_vectors = false"
        )
    return {"vector_width": width}
