"""A text as the mean vector of a frozen encoder, which other texts have trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spacy_torch.nn.encoder_output import check_tokens
from spacy_torch.nn.picture_batch import RowCache

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class TextBatch(NamedTuple):
    """What is known of texts before they are made ready for an encoder.

    Attributes:
        keys: the same for the same text, and for no other.
        read: gives the texts at some places of the batch, as something whose method
            `to(device)` gives what the encoder takes.
    """

    keys: Int[Tensor, " batch"]
    read: Callable[[Sequence[int]], Any]


class EncodedTexts(nn.Module):
    """The mean of each text's vectors, of length 1; of a text without tokens, zeros.

    Each text is encoded once, as long as there is room to keep what came of it.

    Args:
        encoder: a module that maps a batch to `Ragged` vectors. It is always in evaluation
            mode.
        width: the size of the vectors.
        cache_mb: how much is kept, in megabytes.

    Raises:
        ValueError: the encoder learns by gradient.
    """

    def __init__(self, encoder: nn.Module, *, width: int, cache_mb: float) -> None:
        super().__init__()
        learning = [name for name, one in encoder.named_parameters() if one.requires_grad]
        if learning:
            raise ValueError(
                "the encoder of a fast learner must be frozen, as what was answered would not fit "
                f"a changed one, but {len(learning)} of its parameters learn by gradient, "
                f"{learning[0]!r} among them: set freeze = true, or use it in the slow part"
            )
        self.encoder = encoder
        self.width = width
        self.cache = RowCache(cache_mb)
        self.train(self.training)

    def train(self, mode: bool = True) -> EncodedTexts:
        """Training mode, in which the encoder has no part."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, batch: TextBatch) -> Float[Tensor, "batch width"]:
        """Rows of length 1."""
        return self.cache.find(batch, self._encode)

    @torch.no_grad()
    def _encode(self, texts: Any) -> Tensor:
        tokens = self.encoder(texts)
        check_tokens(tokens, name=type(self).__name__, width=self.width)
        return F.normalize(tokens.mean().float(), dim=1)
