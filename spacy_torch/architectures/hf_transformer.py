"""`spacy-torch.HFTransformer.v1`: any Hugging Face encoder, shipped inside the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from spacy.tokens import Doc

from spacy_torch.architectures.encoder import Encoder
from spacy_torch.architectures.pretrained import (
    build_transformer,
    describe_pretrained,
    fetch_pretrained,
    parse_tokenizer,
)
from spacy_torch.features.pieces import Pieces, collect_texts
from spacy_torch.nn.hf_transformer import HFTransformer, PiecePooling
from spacy_torch.registry import needs_extra

# More is rarely of use, and attention takes the square of it.
DEFAULT_WINDOW = 512


@needs_extra("transformers")
def build_hf_transformer(
    *,
    name: str,
    width: int,
    layers: list[int] = [-1],  # noqa: B006  (the config needs to see the default)
    pooling: PiecePooling = "mean",
    window: int | None = None,
    overlap: float = 0.25,
    batch_pieces: int | None = None,
    dropout: float | None = None,
    freeze: bool = False,
    checkpointing: bool = False,
) -> Encoder:
    """A pretrained transformer from the Hugging Face hub or a folder.

    It is read at initialization. Configuration, tokenizer and weights are then saved with the
    pipeline: loading needs neither the hub nor a network nor the folder.

    Args:
        name: of the model on the hub, or its folder.
        width: of the model's vectors, its `hidden_size`.
        window: how many pieces it sees at once; null: as many as it can, at most 512. A
            longer text is cut into overlapping windows, and a piece gets its vector from the
            window in which it is farthest from the edges.
        overlap: the share of a window that it has in common with the next.
        checkpointing: forget what layers computed until the backward pass, which computes it
            again: takes less memory and more time.
        layers, pooling, batch_pieces, dropout, freeze: see `nn.hf_transformer.HFTransformer`.
    """
    return Encoder(
        build=partial(
            build_hf_module,
            name=name,
            width=width,
            layers=tuple(layers),
            pooling=pooling,
            window=window,
            overlap=overlap,
            batch_pieces=batch_pieces,
            dropout=dropout,
            freeze=freeze,
            checkpointing=checkpointing,
        ),
        featurize=collect_texts,
        width=width,
        measure=partial(
            measure_pretrained, name=name, width=width, layers=tuple(layers), window=window
        ),
    )


def measure_pretrained(
    docs: Sequence[Doc], *, name: str, width: int, layers: Sequence[int], window: int | None
) -> dict[str, Any]:
    """What is kept of a model beside its weights (see `describe_pretrained`).

    Raises:
        ValueError: the model is not `width` wide, has no such `layers` or cannot see a `window`.
    """
    found = describe_pretrained(name)
    hidden_size, n_layers = found.pop("width"), found.pop("n_layers")
    mistakes: list[str] = []
    if width != hidden_size:
        mistakes.append(f"width must be {hidden_size}, the model's hidden_size, got {width}")
    unknown = [layer for layer in layers if not -n_layers - 1 <= layer <= n_layers]
    if unknown:
        mistakes.append(f"layers must be from {-n_layers - 1} to {n_layers}, got {unknown}")
    if window is not None and not 0 < window <= found["max_pieces"]:
        mistakes.append(f"window must be from 1 to {found['max_pieces']}, got {window}")
    if mistakes:
        raise ValueError(f"spacy-torch.HFTransformer.v1, {name!r}: {'; '.join(mistakes)}")
    return found


def build_hf_module(
    *,
    name: str,
    width: int,
    layers: Sequence[int],
    pooling: PiecePooling,
    window: int | None,
    overlap: float,
    batch_pieces: int | None,
    dropout: float | None,
    freeze: bool,
    checkpointing: bool,
    transformer: Mapping[str, Any],
    tokenizer_bytes: int,
    max_pieces: int,
) -> HFTransformer:
    """The torch module of `build_hf_transformer`; the last three arguments are measured."""
    model: Any = build_transformer(transformer, checkpointing=checkpointing)
    return HFTransformer(
        model,
        pieces=Pieces(
            parse_tokenizer,
            n_bytes=tokenizer_bytes,
            window=min(window or DEFAULT_WINDOW, max_pieces),
            overlap=overlap,
        ),
        width=width,
        fetch=partial(fetch_pretrained, name),
        layers=layers,
        pooling=pooling,
        pad_id=model.config.pad_token_id or 0,
        batch_pieces=batch_pieces,
        dropout=dropout,
        freeze=freeze,
    )
