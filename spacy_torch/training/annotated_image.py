"""An image and all that is known of it: what the formats of files have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from spacy.language import Language
from spacy.tokens import Doc

from spacy_torch.features.boxes import (
    Box,
    get_boxes,
    get_rejected,
    has_boxes,
    is_complete,
    set_boxes,
)
from spacy_torch.features.image_docs import get_picture, make_image_doc, set_picture
from spacy_torch.features.picture import Picture


@dataclass(frozen=True)
class AnnotatedImage:
    """An image, its boxes and its classes.

    Attributes:
        picture: where the image comes from.
        boxes: objects; None if nothing is known of objects.
        rejected: boxes that do not hold an object of their label.
        complete: what is in none of `boxes` is background.
        cats: 1.0 for classes that apply, 0.0 for those that do not; others are not known.
        caption: text that stands on the Doc beside the picture; None for none.
    """

    picture: Picture
    boxes: tuple[Box, ...] | None = None
    rejected: tuple[Box, ...] = ()
    complete: bool = True
    cats: Mapping[str, float] = field(default_factory=dict[str, float])
    caption: str | None = None


def make_plain_doc(nlp: Language, image: AnnotatedImage, *, text: str | None = None) -> Doc:
    """The Doc that a pipeline is given: a picture, perhaps with a caption.

    Args:
        text: of the one token where there is no caption; by default that of the picture.
    """
    if image.caption is None:
        return make_image_doc(nlp.vocab, image.picture, text=text)
    doc = nlp.make_doc(image.caption)
    set_picture(doc, image.picture)
    return doc


def make_gold_doc(nlp: Language, image: AnnotatedImage, *, text: str | None = None) -> Doc:
    """The Doc that a pipeline learns: the same with boxes and classes."""
    doc = make_plain_doc(nlp, image, text=text)
    doc.cats = dict(image.cats)
    if image.boxes is not None:
        set_boxes(doc, image.boxes, rejected=image.rejected, complete=image.complete)
    return doc


def read_doc(doc: Doc) -> AnnotatedImage:
    """What a Doc says of its picture. Words that are not the picture's name are its caption.

    Raises:
        ValueError: it has no picture.
    """
    picture = get_picture(doc)
    is_name = len(doc) == 1 and (
        doc.text == picture.name if picture.path is None else picture.path.endswith(doc.text)
    )
    return AnnotatedImage(
        picture,
        boxes=get_boxes(doc) if has_boxes(doc) else None,
        rejected=get_rejected(doc),
        complete=is_complete(doc) or not has_boxes(doc),
        cats=dict(doc.cats),
        caption=None if is_name else doc.text,
    )


def merge_images(images: Iterable[AnnotatedImage]) -> list[AnnotatedImage]:
    """Each image once, in the order in which they come first, with all that is known of it.

    Complete boxes replace those that came before; others are added to them. Of a class that
    was asked twice, the last answer counts.
    """
    merged: dict[Picture, AnnotatedImage] = {}
    for image in images:
        former = merged.get(image.picture)
        merged[image.picture] = image if former is None else _merge(former, image)
    return list(merged.values())


def _merge(former: AnnotatedImage, image: AnnotatedImage) -> AnnotatedImage:
    boxes, complete = former.boxes, former.complete
    if image.boxes is not None and (image.complete or boxes is None):
        boxes, complete = image.boxes, image.complete
    elif image.boxes is not None:
        boxes = (*(boxes or ()), *(box for box in image.boxes if box not in (boxes or ())))
    new = (box for box in image.rejected if box not in former.rejected)
    return replace(
        former,
        boxes=boxes,
        complete=complete,
        rejected=(*former.rejected, *new),
        cats={**former.cats, **image.cats},
        caption=former.caption if image.caption is None else image.caption,
    )
