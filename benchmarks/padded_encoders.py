"""The encoders as torch's own layers make them: padded batches, in the order given.

All sit on the same embedding module as ours, one vector per word type, so that what
differs is what follows it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spacy_torch.nn.hash_embed import MultiHashEmbed, TokenBatch
from spacy_torch.nn.ragged import Ragged


class PaddedLSTM(nn.Module):
    """`nn.LSTM` on padded rows. Its way back starts on the padding, where ours does not."""

    def __init__(self, rows: Sequence[int], *, width: int, depth: int, embed_width: int) -> None:
        super().__init__()
        self.embed = MultiHashEmbed(rows, width=embed_width)
        self.lstm = nn.LSTM(
            embed_width, width // 2, num_layers=depth, bidirectional=True, batch_first=True
        )

    def forward(self, batch: TokenBatch) -> Ragged:
        """Encode a batch."""
        padded, mask = _embed_padded(self.embed, batch)
        return Ragged.from_padded(self.lstm(padded)[0], mask)


class PaddedTransformer(nn.Module):
    """`nn.TransformerEncoder`, which has no positions: it does a little less than ours."""

    def __init__(
        self, rows: Sequence[int], *, width: int, depth: int, n_heads: int, feed_forward_width: int
    ) -> None:
        super().__init__()
        self.embed = MultiHashEmbed(rows, width=width)
        layer = nn.TransformerEncoderLayer(
            width,
            n_heads,
            feed_forward_width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )

    def forward(self, batch: TokenBatch) -> Ragged:
        """Encode a batch."""
        padded, mask = _embed_padded(self.embed, batch)
        return Ragged.from_padded(self.layers(padded, src_key_padding_mask=~mask), mask)


class PaddedCNN(nn.Module):
    """`nn.Conv1d`, the largest of three pieces, a norm and what came in, for each layer."""

    def __init__(self, rows: Sequence[int], *, width: int, depth: int) -> None:
        super().__init__()
        self.embed = MultiHashEmbed(rows, width=width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, 3 * width, 3, padding=1) for _ in range(depth)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))

    def forward(self, batch: TokenBatch) -> Ragged:
        """Encode a batch."""
        padded, mask = _embed_padded(self.embed, batch)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            pieces = convolution(padded.transpose(1, 2)).transpose(1, 2)
            padded = padded + norm(pieces.unflatten(2, (3, -1)).amax(2))
            padded = padded * mask.unsqueeze(2)
        return Ragged.from_padded(padded, mask)


def _embed_padded(embed: MultiHashEmbed, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    types = embed(batch)
    tokens = types.index_select(0, batch.inverse)
    rows = torch.split(tokens, batch.lengths.tolist())
    padded = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    steps = torch.arange(padded.shape[1])
    return padded, steps < batch.lengths.unsqueeze(1)
