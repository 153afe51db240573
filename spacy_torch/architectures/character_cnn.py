"""`spacy-torch.CharacterCNN.v1`: spaCy's standard token encoder that also reads characters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from spacy_torch.architectures.encoder import Encoder
from spacy_torch.architectures.hash_embed_cnn import measure_vectors
from spacy_torch.features.characters import HashedCharacters
from spacy_torch.features.tokens import HashedTokens
from spacy_torch.nn.character_cnn import CharacterCNN
from spacy_torch.nn.hash_embed_cnn import HashEmbedCNN


def build_character_cnn(
    *,
    width: int = 96,
    depth: int = 4,
    attrs: list[str] = ["NORM", "PREFIX", "SUFFIX", "SHAPE"],  # noqa: B006  (seen by the config)
    rows: list[int] = [2000, 1000, 1000, 1000],  # noqa: B006
    window: int = 1,
    pieces: int = 3,
    character_rows: int = 2000,
    character_width: int = 32,
    character_window: int = 1,
    longest_word: int = 32,
    static_vectors: bool = False,
    dropout: float | None = None,
    word_dropout: float = 0.0,
) -> Encoder:
    """`spacy-torch.HashEmbedCNN.v1` with what a small CNN reads from each word's characters.

    Of a word longer than `longest_word` only that many characters are read, half of them
    from its end.
    """
    return Encoder(
        build=partial(
            build_character_module,
            rows=tuple(rows),
            width=width,
            depth=depth,
            window=window,
            pieces=pieces,
            character_rows=character_rows,
            character_width=character_width,
            character_window=character_window,
            dropout=dropout,
            word_dropout=word_dropout,
        ),
        featurize=HashedTokens(
            attrs,
            rows,
            static_vectors=static_vectors,
            characters=HashedCharacters(character_rows, longest=longest_word),
        ),
        width=width,
        measure=measure_vectors if static_vectors else None,
    )


def build_character_module(
    *,
    rows: Sequence[int],
    width: int,
    depth: int,
    window: int,
    pieces: int,
    character_rows: int,
    character_width: int,
    character_window: int,
    dropout: float | None,
    word_dropout: float,
    vector_width: int = 0,
) -> HashEmbedCNN:
    """The torch module of `build_character_cnn`."""
    characters = CharacterCNN(
        rows=character_rows, character_width=character_width, width=width, window=character_window
    )
    return HashEmbedCNN(
        rows=rows,
        width=width,
        depth=depth,
        window=window,
        pieces=pieces,
        vector_width=vector_width,
        dropout=dropout,
        word_dropout=word_dropout,
        characters=characters,
    )
