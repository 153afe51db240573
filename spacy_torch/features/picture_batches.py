"""The pictures of documents, and keys to know them by, for a module that reads pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from spacy.tokens import Doc

from spacy_torch.features.image_docs import get_picture, has_picture
from spacy_torch.features.pixels import PADDING, read_pixels
from spacy_torch.nn.picture_batch import PictureBatch

# The key of what stands for the picture of a document that has neither picture nor tokens.
BLANK = 0


class PictureReader:
    """Documents -> their pictures, decoded later and only if need be.

    A document without a picture and without tokens gets a grey square.

    Args:
        size: the side of the squares that pictures are brought to, in pixels.
        required: a document with tokens must have a picture; otherwise, it gets a grey square.
    """

    def __init__(self, size: int, *, required: bool = True) -> None:
        self.size = size
        self.required = required

    def __call__(self, docs: Sequence[Doc]) -> PictureBatch:
        """The batch for a module.

        Raises:
            OSError: a file cannot be read.
            ValueError: a document has tokens, but no picture, and it is required.
        """
        shown = [None if self._is_blank(doc) else doc for doc in docs]
        return PictureBatch(_find_keys(shown), partial(_read, shown, self.size))

    def _is_blank(self, doc: Doc) -> bool:
        return not has_picture(doc) and not (len(doc) and self.required)


def picture_keys(docs: Sequence[Doc]) -> torch.Tensor:
    """The first half of each picture's digest; shape (batch,), int64.

    Raises:
        OSError: a file cannot be read.
        ValueError: a document has tokens, but no picture.
    """
    return PictureReader(1)(docs).keys


def _find_keys(docs: list[Doc | None]) -> torch.Tensor:
    keys = [BLANK if doc is None else int(get_picture(doc).key[:16], 16) for doc in docs]
    return torch.from_numpy(np.array(keys, dtype=np.uint64).view(np.int64))


def _read(docs: list[Doc | None], size: int, places: Sequence[int]) -> torch.Tensor:
    chosen = [docs[place] for place in places]
    is_shown = np.array([doc is not None for doc in chosen], dtype=bool)
    pixels = np.full((len(chosen), 3, size, size), PADDING, dtype=np.uint8)
    pixels[is_shown], _ = read_pixels([doc for doc in chosen if doc is not None], size=size)
    return torch.from_numpy(pixels)
