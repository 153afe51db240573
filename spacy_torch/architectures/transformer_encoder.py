"""`spacy-torch.TransformerEncoder.v1`: attention layers trained from scratch."""

from __future__ import annotations

from functools import partial
from typing import Literal

from spacy_torch.architectures.encoder import Encoder
from spacy_torch.architectures.hash_embed_cnn import measure_vectors
from spacy_torch.features.tokens import HashedTokens
from spacy_torch.nn.transformer_encoder import TransformerEncoder


def build_transformer_encoder(
    *,
    width: int = 128,
    depth: int = 4,
    n_heads: int = 4,
    feed_forward_width: int = 512,
    feed_forward: Literal["gelu", "swiglu"] = "gelu",
    window: int = 256,
    attrs: list[str] = ["NORM", "PREFIX", "SUFFIX", "SHAPE"],  # noqa: B006  (seen by the config)
    rows: list[int] = [2000, 1000, 1000, 1000],  # noqa: B006
    static_vectors: bool = False,
    dropout: float | None = None,
    word_dropout: float = 0.0,
    checkpointing: bool = False,
) -> Encoder:
    """Hash embeddings of each token's attributes and attention over its neighbours.

    `rows` gives the table size of each of the `attrs`.
    """
    return Encoder(
        build=partial(
            TransformerEncoder,
            rows=tuple(rows),
            width=width,
            depth=depth,
            n_heads=n_heads,
            feed_forward_width=feed_forward_width,
            feed_forward=feed_forward,
            window=window,
            dropout=dropout,
            word_dropout=word_dropout,
            checkpointing=checkpointing,
        ),
        featurize=HashedTokens(attrs, rows, static_vectors=static_vectors),
        width=width,
        measure=measure_vectors if static_vectors else None,
    )
