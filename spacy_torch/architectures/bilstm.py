"""`spacy-torch.BiLSTM.v1`: layers of bidirectional LSTMs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from spacy_torch.architectures.encoder import Encoder
from spacy_torch.architectures.hash_embed_cnn import measure_vectors
from spacy_torch.features.characters import HashedCharacters
from spacy_torch.features.tokens import HashedTokens
from spacy_torch.nn.bilstm import BiLSTM
from spacy_torch.nn.character_cnn import CharacterCNN


def build_bilstm(
    *,
    width: int = 256,
    depth: int = 2,
    embed_width: int = 96,
    attrs: list[str] = ["NORM", "PREFIX", "SUFFIX", "SHAPE"],  # noqa: B006  (seen by the config)
    rows: list[int] = [2000, 1000, 1000, 1000],  # noqa: B006
    character_rows: int = 2000,
    character_width: int = 0,
    character_window: int = 1,
    longest_word: int = 32,
    static_vectors: bool = False,
    dropout: float | None = None,
    dropout_mask: Literal["sequence", "token"] = "sequence",
    word_dropout: float = 0.0,
) -> Encoder:
    """Hash embeddings of each token's attributes, read forwards and backwards.

    `rows` gives the table size of each of the `attrs`. With a `character_width`, the words'
    characters are read as in `spacy-torch.CharacterCNN.v1`.
    """
    characters = HashedCharacters(character_rows, longest=longest_word) if character_width else None
    return Encoder(
        build=partial(
            build_bilstm_module,
            rows=tuple(rows),
            width=width,
            depth=depth,
            embed_width=embed_width,
            character_rows=character_rows,
            character_width=character_width,
            character_window=character_window,
            dropout=dropout,
            dropout_mask=dropout_mask,
            word_dropout=word_dropout,
        ),
        featurize=HashedTokens(attrs, rows, static_vectors=static_vectors, characters=characters),
        width=width,
        measure=measure_vectors if static_vectors else None,
    )


def build_bilstm_module(
    *,
    rows: Sequence[int],
    width: int,
    depth: int,
    embed_width: int,
    character_rows: int,
    character_width: int,
    character_window: int,
    dropout: float | None,
    dropout_mask: Literal["sequence", "token"],
    word_dropout: float,
    vector_width: int = 0,
) -> BiLSTM:
    """The torch module of `build_bilstm`."""
    characters = None
    if character_width:
        characters = CharacterCNN(
            rows=character_rows,
            character_width=character_width,
            width=embed_width,
            window=character_window,
        )
    return BiLSTM(
        rows=rows,
        width=width,
        depth=depth,
        embed_width=embed_width,
        vector_width=vector_width,
        dropout=dropout,
        dropout_mask=dropout_mask,
        word_dropout=word_dropout,
        characters=characters,
    )
