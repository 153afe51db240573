"""Hold what an encoder returned against what is expected of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from spacy_torch.nn.ragged import Ragged


def check_tokens(
    tokens: object, *, name: str, width: int, lengths: Sequence[int] | None = None
) -> None:
    """Check that something is `Ragged` with a vector per token, without waiting for a GPU.

    Args:
        tokens: what the encoder returned.
        name: who needs it, for the error.
        lengths: the number of tokens of each sequence, where they are known.

    Raises:
        TypeError: it is no `Ragged` of a float tensor and an integer tensor.
        ValueError: the vectors are not `width` wide, or are not one per token.
    """
    shape = f"(token, {width})"
    if lengths is not None:
        shape = f"(token, width) = ({sum(lengths)}, {width})"
    expected = (
        f"{name}: the encoder must return Ragged(values, lengths), values a float tensor of "
        f"shape {shape}, but it returned"
    )
    if not isinstance(tokens, Ragged):
        raise TypeError(
            f"{expected} {_describe(tokens)}: wrap it with Ragged(values, batch.lengths) or "
            "Ragged.from_padded(padded, mask)"
        )
    values, found = cast("tuple[object, object]", tokens)
    if not isinstance(values, Tensor) or not values.is_floating_point():
        raise TypeError(f"{expected} {_describe(values)} as values: return vectors, not ids")
    if not isinstance(found, Tensor) or found.is_floating_point() or found.ndim != 1:
        raise TypeError(
            f"{expected} {_describe(found)} as lengths: give one integer per sequence, as in "
            "batch.lengths"
        )
    if values.ndim != 2 or values.shape[1] != width:
        raise ValueError(
            f"{expected} values of shape {tuple(values.shape)}: make the vectors as wide as the "
            "Encoder's width, or set that to theirs"
        )
    n_tokens = _n_tokens(found) if lengths is None else sum(lengths)
    if n_tokens is not None and len(values) != n_tokens:
        raise ValueError(
            f"{expected} {len(values)} rows for {n_tokens} tokens: give one row per token (rows "
            "per type, as MultiHashEmbed gives them, become rows per token by "
            "values[batch.inverse])"
        )
    if lengths is not None and not _are_equal(found, lengths):
        raise ValueError(
            f"{expected} lengths of shape {tuple(found.shape)} that are not the documents': hand "
            "on batch.lengths as they are"
        )


def _n_tokens(lengths: Tensor) -> int | None:
    """The sum, where it costs nothing: not on a GPU, and not while the module is captured."""
    if (
        lengths.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    ):
        return None
    return int(lengths.sum())


def _are_equal(found: Tensor, lengths: Sequence[int]) -> bool:
    if found.device.type != "cpu":
        return len(found) == len(lengths)
    return cast("list[int]", found.tolist()) == list(lengths)  # pyright: ignore[reportUnknownMemberType]


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a Tensor of type {value.dtype} and shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
