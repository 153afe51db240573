"""Gives the examples of annotated images; what `[corpora.train]` resolves to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from spacy.language import Language
from spacy.training import Example

from spacy_torch.features.boxes import register_boxes
from spacy_torch.training.annotated_image import AnnotatedImage, make_gold_doc, make_plain_doc
from spacy_torch.training.noticed import Noticed


class ImageReader:
    """Reads a file or folder of annotations once, and gives an example for each image.

    The pictures themselves are read by the components, when they need them. The reference has
    the boxes and classes; the Doc that the pipeline is given has the picture, and the caption
    where there is one.

    Attributes:
        path: what is read.
        noticed: what was left out or changed; logged once.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[], Iterable[AnnotatedImage]],
        *,
        noticed: Noticed,
        limit: int = 0,
    ) -> None:
        if limit < 0:
            raise ValueError(f"limit must be >= 0 (0 reads every image), got {limit}")
        register_boxes()
        self.path = path
        self.noticed = noticed
        self._read = read
        self._limit = limit
        self._images: list[AnnotatedImage] | None = None

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Yield an example per image, in the order of the file."""
        for image in self.images:
            yield Example(make_plain_doc(nlp, image), make_gold_doc(nlp, image))

    @property
    def images(self) -> list[AnnotatedImage]:
        """The annotated images.

        Raises:
            OSError: a file or a picture is not there.
            ValueError: there are none, or something in a file is wrong.
        """
        if self._images is None:
            images = list(self._read())
            if not images:
                raise ValueError(
                    f"{self.path} has no annotated images: "
                    f"{self.noticed.describe() or 'it is empty'}"
                )
            self._images = images[: self._limit or None]
            self.noticed.log(self.path)
        return self._images
