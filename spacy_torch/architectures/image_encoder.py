"""The image encoder: what a head needs to know about the module that reads the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thinc.api import Model
from torch import nn

from spacy_torch.architectures.encoder import Encoder
from spacy_torch.bridge.building import ModuleBuilder, check_builder


@dataclass(frozen=True)
class ImageEncoder:
    """How to build a module from pixels to a feature map.

    Attributes:
        build: builds the module; called late. The module maps pixels, bytes of shape
            (batch, 3, side, side), to floats of shape (batch, width, row, column). It scales
            the pixels itself, and takes squares of other sizes as well. If it has a method
            `load_pretrained`, that is called at initialization and not on loading; if it has a
            method `learn_pool`, that is called at initialization with batches of pixels of
            pictures without labels.
        size: the side, in pixels, of the squares that it reads by default.
        width: the number of channels of the map.
        stride: the side, in pixels, of what a cell of the map stands for.
        is_frozen: nothing in it learns by gradient, so that the features of a picture are
            always the same.
    """

    build: ModuleBuilder
    size: int
    width: int
    stride: int
    is_frozen: bool

    def __post_init__(self) -> None:
        check_builder(self.build, name="ImageEncoder, argument `build`")
        if min(self.size, self.width, self.stride) < 1:
            raise ValueError(
                "ImageEncoder: size, width and stride must be at least 1, got "
                f"{self.size}, {self.width} and {self.stride}"
            )

    def __getattr__(self, name: str) -> Any:
        # What asks a token encoder or a tok2vec for its parts was given this one by mistake.
        raise AttributeError(
            f"An ImageEncoder has no {name!r}: it reads pixels and no tokens. It belongs in the "
            "[encoder] block of an architecture such as spacy-torch.ImageClassifier.v1"
        )


def check_image_encoder(encoder: object, *, name: str) -> None:
    """Raise a `TypeError` if an architecture was given something else than an `ImageEncoder`."""
    if isinstance(encoder, ImageEncoder):
        return
    what = f"a {type(encoder).__name__}"
    step = "register a function under @torch_encoders that returns an ImageEncoder"
    if isinstance(encoder, Encoder):
        what = "an Encoder, which reads tokens"
        step = "use one that reads pixels, such as spacy-torch.ImageCNN.v1"
    elif isinstance(encoder, nn.Module):
        what += " (a torch module)"
        step = 'wrap it with @torch_encoders = "spacy-torch.ImageModule.v1"'
    elif isinstance(encoder, type):
        what = f"the class {encoder.__name__}"
        step = 'wrap it with @torch_encoders = "spacy-torch.ImageModule.v1"'
    elif isinstance(encoder, Model):
        what += f" (the Thinc model {encoder.name!r})"
    elif encoder is None:
        what = "None"
        step = "end the function that builds it with `return ImageEncoder(...)`"
    raise TypeError(f"{name}: the encoder must be an ImageEncoder, got {what}: {step}")
