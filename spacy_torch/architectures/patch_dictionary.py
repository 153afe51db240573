"""`spacy-torch.PatchDictionary.v1`: patterns of small patches, found without labels."""

from __future__ import annotations

from functools import partial

from spacy_torch.architectures.image_encoder import ImageEncoder
from spacy_torch.nn.patch_dictionary import PatchDictionary


def build_patch_dictionary(
    *,
    size: int = 32,
    width: int = 400,
    patch: int = 6,
    step: int = 1,
    stride: int = 4,
    threshold: float = 1.0,
) -> ImageEncoder:
    """A dictionary of patches, learned in seconds from pictures without labels.

    Args:
        size: the side of the squares that pictures are brought to, in pixels.
        width, patch, step, stride, threshold: see `nn.patch_dictionary.PatchDictionary`.
    """
    return ImageEncoder(
        build=partial(
            PatchDictionary,
            width=width,
            patch=patch,
            step=step,
            stride=stride,
            threshold=threshold,
        ),
        size=size,
        width=width,
        stride=stride,
        is_frozen=True,
    )
