"""Round the large matrices of a trained module to 8 bits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import nn

from spacy_torch.nn.hash_embed_cnn import HashEmbedCNN
from spacy_torch.nn.int8 import Int8Linear
from spacy_torch.nn.int8_maxout import Int8MaxoutNorm
from spacy_torch.nn.maxout import MaxoutNorm

# Of a matrix. With fewer, rounding what comes in takes as long as is saved.
FEWEST_WEIGHTS = 64 * 64


def find_int8_layers(module: nn.Module) -> list[str]:
    """The names of the layers that are worth rounding.

    These are linear ones of 4,096 weights or more, and of a `HashEmbedCNN` the convolutions
    after the first: what comes before is computed once per word type, and remembered.
    """
    found: list[str] = []
    named = cast("Iterable[tuple[str, nn.Module]]", module.named_modules())  # pyright: ignore[reportUnknownMemberType]
    for name, part in named:
        if type(part) is nn.Linear and part.weight.numel() >= FEWEST_WEIGHTS:
            found.append(name)
        elif isinstance(part, HashEmbedCNN):
            start = f"{name}.layers" if name else "layers"
            layers = cast("list[MaxoutNorm]", list(part.layers))
            found += [
                f"{start}.{index}"
                for index, layer in enumerate(layers)
                if index and layer.weight.numel() >= FEWEST_WEIGHTS
            ]
    return found


def round_layers(module: nn.Module, names: Iterable[str]) -> None:
    """Replace these layers of a module by rounded ones, in place.

    Raises:
        ValueError: there is no such layer, or it is of another kind.
    """
    for name in names:
        start, _, last = name.rpartition(".")
        try:
            parent = module.get_submodule(start)
            layer = parent.get_submodule(last)
        except AttributeError as error:
            raise ValueError(f"the module has no layer {name!r} to round to 8 bits") from error
        if isinstance(layer, MaxoutNorm):
            rounded = Int8MaxoutNorm.of(layer)
        elif isinstance(layer, nn.Linear):
            rounded = Int8Linear.of(layer)
        else:
            raise ValueError(
                f"the layer {name!r} cannot be rounded to 8 bits: it is a "
                f"{type(layer).__name__}, expected a Linear or MaxoutNorm"
            )
        setattr(parent, last, rounded)
