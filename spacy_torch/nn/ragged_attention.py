"""Attention within each sequence of a ragged batch, without padding."""

from __future__ import annotations

import functools
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from spacy_torch.nn.ragged import Ragged

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class LengthOrder(NamedTuple):
    """The rows of a batch with its sequences sorted by length, the shortest first.

    Sequences of the same length stand together, as a padded batch that needs no padding.

    Attributes:
        order: for each row, the row of the batch that it takes.
        place: for each row of the batch, where it stands.
        positions: for each row, its position in its sequence.
        groups: how many sequences there are of each length, and that length; empty
            sequences are left out.
    """

    order: Int[Tensor, " token"]
    place: Int[Tensor, " token"]
    positions: Int[Tensor, " token"]
    groups: list[tuple[int, int]]


def sort_by_length(tokens: Ragged) -> LengthOrder:
    """The rows of a batch, its sequences sorted by length."""
    lengths, by_length = tokens.lengths.sort(stable=True)
    sorted_ = Ragged(tokens.values, lengths)
    rows = torch.arange(len(tokens.values), device=lengths.device)
    ids = sorted_.sequence_ids()
    positions = rows - sorted_.offsets().index_select(0, ids)
    order = tokens.offsets().index_select(0, by_length).index_select(0, ids) + positions
    place = torch.empty_like(order)
    place[order] = rows
    sizes = cast("list[int]", lengths.tolist())  # pyright: ignore[reportUnknownMemberType]
    groups = [(len(list(same)), length) for length, same in groupby(sizes) if length]
    return LengthOrder(order, place, positions, groups)


def attend(
    query: Float[Tensor, "token head width"],
    key: Float[Tensor, "token head width"],
    value: Float[Tensor, "token head width"],
    *,
    groups: list[tuple[int, int]],
    window: int,
) -> Float[Tensor, "token head width"]:
    """Scaled dot-product attention of each token to its neighbours.

    Rows in and out are in the order of `sort_by_length`. A sequence of at most `window + 1`
    tokens is seen as a whole; in a longer one a token sees `window` neighbours on either
    side, computed block by block, so that memory grows with the length and not its square.
    """
    sizes = [n_sequences * length for n_sequences, length in groups]
    parts = (torch.split(values, sizes) for values in (query, key, value))
    attended = [
        _attend_fully(*part, length=length)
        if length <= window + 1
        else _attend_nearby(*part, length=length, window=window)
        for part, (_, length) in zip(zip(*parts, strict=True), groups, strict=True)
    ]
    return torch.cat(attended) if attended else value


class Attention:
    """`attend` for the lengths of one batch.

    Args:
        groups: how many sequences there are of each length, as from `sort_by_length`.
        window: the number of neighbours on either side that a token sees.
    """

    def __init__(self, groups: list[tuple[int, int]], *, window: int) -> None:
        self.groups = groups
        self.window = window

    def __call__(
        self,
        query: Float[Tensor, "token head width"],
        key: Float[Tensor, "token head width"],
        value: Float[Tensor, "token head width"],
    ) -> Float[Tensor, "token head width"]:
        """Attend."""
        return attend(query, key, value, groups=self.groups, window=self.window)


@functools.cache
def keep_attention_from_compiler() -> None:
    """Let `torch.compile` call `Attention`, and not look into it, in the whole process.

    It would make a graph for each number of lengths in a batch. Not done at the import, as it
    imports the compiler, which takes seconds.
    """
    Attention.__call__ = torch.compiler.disable(Attention.__call__)  # pyright: ignore


def _attend_fully(query: Tensor, key: Tensor, value: Tensor, *, length: int) -> Tensor:
    # batch, head, token, width
    queries, keys, values = (
        rows.view(-1, length, *rows.shape[1:]).transpose(1, 2) for rows in (query, key, value)
    )
    attended = F.scaled_dot_product_attention(queries, keys, values)
    return attended.transpose(1, 2).reshape(value.shape)


def _attend_nearby(
    query: Tensor, key: Tensor, value: Tensor, *, length: int, window: int
) -> Tensor:
    """Blocks of `window` queries, each with the keys of three blocks.

    The last block is moved back to end with the sequence: its queries are all real.
    """
    device = query.device
    n_blocks = -(-length // window)
    starts = (torch.arange(n_blocks, device=device) * window).clamp(max=length - window)
    queries = starts.unsqueeze(1) + torch.arange(window, device=device)  # block, query
    keys = starts.unsqueeze(1) + torch.arange(-window, 2 * window, device=device)  # block, key
    near = (queries.unsqueeze(2) - keys.unsqueeze(1)).abs() <= window
    seen = near & ((keys >= 0) & (keys < length)).unsqueeze(1)  # block, query, key
    keys = keys.clamp(0, length - 1)
    rows = torch.arange(length, device=device)
    blocks = rows // window
    back = blocks * window + rows - starts.index_select(0, blocks)
    attended: list[Tensor] = []
    for one_query, one_key, one_value in zip(
        *(torch.split(values, length) for values in (query, key, value)), strict=True
    ):
        by_block = F.scaled_dot_product_attention(
            _take(one_query, queries),
            _take(one_key, keys),
            _take(one_value, keys),
            attn_mask=seen.unsqueeze(1),
        )
        attended.append(by_block.transpose(1, 2).flatten(0, 1).index_select(0, back))
    return torch.cat(attended)


def _take(values: Tensor, rows: Int[Tensor, "block row"]) -> Float[Tensor, "block head row width"]:
    taken = values.index_select(0, rows.flatten())
    return taken.view(*rows.shape, *values.shape[1:]).transpose(1, 2)
