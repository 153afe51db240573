"""`spacy-torch.ImageCNN.v1`: a small convolutional network, trained from scratch."""

from __future__ import annotations

from functools import partial

from spacy_torch.architectures.image_encoder import ImageEncoder
from spacy_torch.nn.image_cnn import ImageCNN


def build_image_cnn(*, size: int = 64, width: int = 64, depth: int = 3) -> ImageEncoder:
    """Stages of convolutions that halve the sides, normalized picture by picture.

    Args:
        size: the side of the squares that pictures are brought to, in pixels.
        width, depth: see `nn.image_cnn.ImageCNN`.
    """
    return ImageEncoder(
        build=partial(ImageCNN, width=width, depth=depth),
        size=size,
        width=width,
        stride=2**depth,
        is_frozen=False,
    )
