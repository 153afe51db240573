"""The language `image`: a pipeline that takes pictures of every kind, `spacy.blank("image")`."""

from __future__ import annotations

from typing import Any

from spacy.language import BaseDefaults, Language
from spacy.tokens import Doc
from spacy.util import load_config_from_str

_CONFIG = """
[nlp]

[nlp.tokenizer]
@tokenizers = "spacy-torch.ImageTokenizer.v1"
"""


class ImageDefaults(BaseDefaults):
    """No words, but the tokenizer of pictures."""

    config = load_config_from_str(_CONFIG)


class ImageLanguage(Language):
    """Takes what `spacy-torch.ImageTokenizer.v1` takes, wherever others take text.

    A `Language` of words with that tokenizer takes paths and data URIs, as these are text; this
    one takes Paths, bytes, arrays and images of Pillow as well, in `nlp(...)`, `nlp.pipe` and
    `nlp.make_doc`, and data URIs of any length.
    """

    lang = "image"
    Defaults = ImageDefaults

    def make_doc(self, text: Any) -> Doc:
        """A Doc with the picture that the argument stands for; none of the components ran."""
        return self.tokenizer(text)

    # The one place where all ways into a pipeline meet: __call__, pipe, its processes, and the
    # documents that they send each other as bytes.
    def _ensure_doc(self, doc_like: Any) -> Doc:
        if isinstance(doc_like, Doc) or (isinstance(doc_like, bytes) and _is_doc(doc_like)):
            return super()._ensure_doc(doc_like)
        return self.make_doc(doc_like)


def _is_doc(data: bytes) -> bool:
    """Whether bytes are those of `Doc.to_bytes`: a small MessagePack map, its first key text.

    No format of images begins like this; PNG, which comes nearest, has a P in second place.
    """
    return len(data) > 1 and data[0] & 0xF0 == 0x80 and data[1] & 0xE0 == 0xA0
