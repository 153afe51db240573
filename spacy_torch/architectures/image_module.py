"""`spacy-torch.ImageModule.v1`: a user's own torch module as an image encoder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from spacy_torch.architectures.image_encoder import ImageEncoder
from spacy_torch.bridge.building import ModuleBuilder, build_sized, check_builder
from spacy_torch.nn.image_module import ImageModule


def build_image_module(
    module: Callable[..., Any],
    *,
    width: int,
    size: int = 224,
    stride: int = 32,
    mean: list[float] = [0.485, 0.456, 0.406],  # noqa: B006  (seen by the config)
    deviation: list[float] = [0.229, 0.224, 0.225],  # noqa: B006
    freeze: bool = True,
) -> ImageEncoder:
    """A torch module of your own, or of torchvision or timm, that reads pictures.

    Args:
        module: the class, or a function or partial, that builds the module without further
            arguments (`partial(timm.create_model, "resnet18", num_classes=0)`). It is called
            again on loading, before the weights saved with the pipeline are filled in: what
            fetches pretrained weights belongs in a method `load_pretrained` of the module,
            which is called at initialization only.
        size: the side of the squares that pictures are brought to, in pixels.
        stride: the side, in pixels, of a cell of the map; `size` if it gives one vector.
        width, mean, deviation, freeze: see `nn.image_module.ImageModule`. The scaling is by
            default that of ImageNet, which torchvision and timm use.
    """
    check_builder(module, name="spacy-torch.ImageModule.v1, argument `module`")
    return ImageEncoder(
        build=partial(
            wrap_image_module,
            module,
            width=width,
            mean=tuple(mean),
            deviation=tuple(deviation),
            freeze=freeze,
        ),
        size=size,
        width=width,
        stride=stride,
        is_frozen=freeze,
    )


def wrap_image_module(
    build: ModuleBuilder,
    *,
    width: int,
    mean: tuple[float, ...],
    deviation: tuple[float, ...],
    freeze: bool,
) -> ImageModule:
    """The torch module of `build_image_module`."""
    return ImageModule(
        build_sized(build, {}), width=width, mean=mean, deviation=deviation, freeze=freeze
    )
