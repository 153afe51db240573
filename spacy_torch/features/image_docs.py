"""The picture of a Doc: kept in `doc.user_data`, and saved wherever that is."""

from __future__ import annotations

from typing import Any

from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_torch.features.picture import Picture

# What stands in `doc.user_data` is plain, so that spaCy can store it and read it anywhere.
_KEY = "spacy_torch.picture"


def make_image_doc(vocab: Vocab, picture: Picture, *, text: str | None = None) -> Doc:
    """A Doc of one token that has a picture.

    Args:
        text: of the token, by which a reader finds the picture again; by default the path, or
            for a picture in memory `image-` and its key.
    """
    doc = Doc(vocab, words=[text or picture.name], spaces=[False])
    set_picture(doc, picture)
    return doc


def make_refused_doc(vocab: Vocab, text: str, *, reason: str) -> Doc:
    """A Doc for something that cannot be used; who asks for its picture gets the reason.

    A tokenizer that raised an error would end the stream that it is in; a component's error
    goes to the error handler.
    """
    doc = Doc(vocab, words=[text] if text else [], spaces=[False] if text else [])
    doc.user_data[_KEY] = {"refused": reason}
    return doc


def set_picture(doc: Doc, picture: Any) -> None:
    """Give a document a picture, in the place of the one it may have.

    Args:
        picture: a `Picture`, or what `Picture.from_source` takes.

    Raises:
        TypeError: it is nothing of the kind.
        ValueError: it is empty or a URL.
    """
    picture = Picture.from_source(picture)
    source = {"path": picture.path} if picture.data is None else {"data": picture.data}
    doc.user_data[_KEY] = {**source, "max_pixels": picture.max_pixels}


def get_picture(doc: Doc) -> Picture:
    """The picture of a document.

    Raises:
        ValueError: it has none, or what stood for one was refused.
    """
    stored = doc.user_data.get(_KEY)
    if stored is None:
        raise ValueError(
            f"the document {_show(doc)} has no picture: make it with "
            "spacy-torch.ImageTokenizer.v1, or give it one with set_picture; a DocBin keeps "
            "pictures if it has store_user_data=True"
        )
    if "refused" in stored:
        raise ValueError(stored["refused"])
    return Picture(**stored)


def has_picture(doc: Doc) -> bool:
    """Whether a document has a picture that was not refused."""
    return "refused" not in doc.user_data.get(_KEY, {"refused": ""})


def _show(doc: Doc) -> str:
    text = doc.text
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
