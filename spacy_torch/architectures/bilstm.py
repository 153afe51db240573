"""`spacy-torch.BiLSTM.v1`: layers of bidirectional LSTMs."""

from __future__ import annotations

from functools import partial
from typing import Literal

from spacy_torch.architectures.encoder import Encoder
from spacy_torch.architectures.hash_embed_cnn import measure_vectors
from spacy_torch.features.tokens import HashedTokens
from spacy_torch.nn.bilstm import BiLSTM


def build_bilstm(
    *,
    width: int = 256,
    depth: int = 2,
    embed_width: int = 96,
    attrs: list[str] = ["NORM", "PREFIX", "SUFFIX", "SHAPE"],  # noqa: B006  (seen by the config)
    rows: list[int] = [2000, 1000, 1000, 1000],  # noqa: B006
    static_vectors: bool = False,
    dropout: float | None = None,
    dropout_mask: Literal["sequence", "token"] = "sequence",
) -> Encoder:
    """Hash embeddings of each token's attributes, read forwards and backwards.

    `rows` gives the table size of each of the `attrs`.
    """
    return Encoder(
        build=partial(
            BiLSTM,
            rows=tuple(rows),
            width=width,
            depth=depth,
            embed_width=embed_width,
            dropout=dropout,
            dropout_mask=dropout_mask,
        ),
        featurize=HashedTokens(attrs, rows, static_vectors=static_vectors),
        width=width,
        measure=measure_vectors if static_vectors else None,
    )
