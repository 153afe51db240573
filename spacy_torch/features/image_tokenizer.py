"""`spacy-torch.ImageTokenizer.v1`: makes a Doc of whatever stands for an image."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import DummyTokenizer
from spacy.vocab import Vocab

from spacy_torch.features.decoding import MAX_PIXELS
from spacy_torch.features.image_docs import make_image_doc, make_refused_doc
from spacy_torch.features.image_paths import resolve_path
from spacy_torch.features.picture import Picture
from spacy_torch.registry import needs_extra

_IN_MEMORY = re.compile(r"image-[0-9a-f]{32}")


class ImageTokenizer(DummyTokenizer):
    """Makes a Doc of one token with a picture, which nothing has decoded yet.

    The token of a file is its path as it was given, so that spaCy's own readers, which hand the
    text of a reference to the tokenizer, find the picture again. That of a picture in memory is
    a name which no reader can make a picture of: such documents, and captions with a picture,
    are read by `spacy-torch.ImageCorpus.v1`.

    What cannot be a picture makes a Doc, too. It is refused by the first component that asks
    for the picture, and so by the error handler of the pipeline, without ending the stream.

    The settings are those of the config and are not stored with the tokenizer's data, so that
    `spacy.load(..., config={"nlp.tokenizer.root": ...})` can change them.

    Attributes:
        vocab: of the documents.
        root: the folder of relative paths; None for the working directory.
        max_pixels: pictures with more are refused.
        allow_outside: a path may lead out of `root`.
    """

    def __init__(
        self,
        vocab: Vocab,
        *,
        root: str | None = None,
        max_pixels: int = MAX_PIXELS,
        allow_outside: bool = False,
    ) -> None:
        if max_pixels < 1:
            raise ValueError(f"max_pixels must be >= 1, got {max_pixels}")
        self.vocab = vocab
        self.root = root
        self.max_pixels = max_pixels
        self.allow_outside = allow_outside

    def __call__(self, source: Any) -> Doc:
        """A Doc of one token; none for the empty text.

        Args:
            source: a path (text or Path), a data URI, the bytes of a file, an image of Pillow,
                an array of uint8 of the shape (height, width) or (height, width, 3 or 4), or a
                `Picture`.

        Raises:
            TypeError: the source is something else.
        """
        try:
            picture = Picture.from_source(source, max_pixels=self.max_pixels)
            if picture.path is None:
                return make_image_doc(self.vocab, picture)
            if _IN_MEMORY.fullmatch(picture.path):
                raise ValueError(
                    f"{picture.path} is the name of a picture in memory, which only the document "
                    "that holds it has: read such documents with spacy-torch.ImageCorpus.v1"
                )
            path = resolve_path(picture.path, root=self.root, allow_outside=self.allow_outside)
            return make_image_doc(self.vocab, replace(picture, path=path), text=picture.path)
        except ValueError as error:
            text = source if isinstance(source, str) else type(source).__name__
            return make_refused_doc(self.vocab, text, reason=str(error))


@needs_extra("images")
def build_image_tokenizer(
    root: str | None = None, max_pixels: int = MAX_PIXELS, allow_outside: bool = False
) -> Callable[[Language], ImageTokenizer]:
    """Pictures instead of texts, for `[nlp.tokenizer]`."""
    return _Build(root=root, max_pixels=max_pixels, allow_outside=allow_outside)


class _Build:
    """Makes the tokenizer when there is a vocab; can be pickled, unlike a nested function."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def __call__(self, nlp: Language) -> ImageTokenizer:
        return ImageTokenizer(nlp.vocab, **self.settings)
