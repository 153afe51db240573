"""The boxes that were answered so far: a set, found by the keys of picture and box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spacy_torch.nn.box_windows import VIEWS, BoxWindows

if TYPE_CHECKING:
    from jaxtyping import Float, Int

# Fixed-point numbers: half the size, and sums of them and of their products are exact, hence
# the same in any order, in double precision.
ONE = 2**14


class BoxAnswers(nn.Module):
    """Answered boxes, in the order of their keys.

    The order in which they came leaves no trace, and what is taken away again never was: two
    sets of the same answers are equal to the bit.

    Args:
        n_features: the size of a window's vector.
        n_boxes: how many there are; stored with the weights, as it changes while the module
            is in use.

    Attributes:
        keys: of the boxes; each box of a picture has another.
        pictures: the key of the picture that each is in.
        labels: of each.
        verdicts: whether each holds an object of its label, 1 or 0.
        sizes: height and width.
        rows: the vectors of each box's windows.
        offsets: where its edges are as seen from them.
    """

    keys: Tensor
    pictures: Tensor
    labels: Tensor
    verdicts: Tensor
    sizes: Tensor
    rows: Tensor
    offsets: Tensor

    def __init__(self, *, n_features: int, n_boxes: int = 0) -> None:
        super().__init__()
        integers = {"keys": torch.int64, "pictures": torch.int64, "labels": torch.int64}
        for name, dtype in {**integers, "verdicts": torch.int64}.items():
            self.register_buffer(name, torch.zeros(n_boxes, dtype=dtype))
        self.register_buffer("sizes", torch.zeros(n_boxes, 2))
        shape = n_boxes, len(VIEWS)
        self.register_buffer("rows", torch.zeros(*shape, n_features, dtype=torch.int16))
        self.register_buffer("offsets", torch.zeros(*shape, 4, dtype=torch.int16))

    def __len__(self) -> int:
        return len(self.keys)

    def add(
        self,
        keys: Int[Tensor, " box"],
        *,
        pictures: Int[Tensor, " box"],
        labels: Int[Tensor, " box"],
        verdicts: Int[Tensor, " box"],
        sizes: Float[Tensor, "box 2"],
        windows: BoxWindows,
    ) -> None:
        """Put boxes in; one whose key is there replaces it."""
        new = {
            "keys": keys,
            "pictures": pictures,
            "labels": labels,
            "verdicts": verdicts,
            "sizes": sizes,
            "rows": (windows.rows * ONE).round().short(),
            "offsets": (windows.offsets.clamp(-1.9, 1.9) * ONE).round().short(),
        }
        self.remove(torch.isin(self.keys, keys))
        order = torch.cat([self.keys, keys]).argsort()
        for name, values in new.items():
            setattr(self, name, torch.cat([getattr(self, name), values])[order])

    def remove(self, chosen: Tensor) -> None:
        """Take boxes away, given which."""
        if bool(chosen.any()):
            for name in dict(self.named_buffers()):
                setattr(self, name, getattr(self, name)[~chosen])
