"""`spacy-torch.ImageCorpus.v1`: pictures, boxes and classes from `.spacy` files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from spacy.language import Language
from spacy.tokens import DocBin
from spacy.vocab import Vocab

from spacy_torch.bridge.atomic import replacing
from spacy_torch.training.annotated_image import AnnotatedImage, make_gold_doc, read_doc
from spacy_torch.training.image_reader import ImageReader
from spacy_torch.training.image_source import ImageSource


def build_image_corpus(
    path: str | Path, images: str | None = None, allow_outside: bool = False, limit: int = 0
) -> ImageReader:
    """Documents with pictures, also those that are in memory or have captions.

    `spacy.Corpus.v1` reads documents of picture files as well, by their paths.

    Args:
        path: a file that `DocBin(store_user_data=True)` wrote, or a folder of them.
        images: the folder of relative paths, and none may lead out of it; null for the
            working directory, and then any path is allowed.
        allow_outside: a path may lead out of the folder.
        limit: read only so many images; 0 reads all.
    """
    source = ImageSource(Path(images or "."), allow_outside=allow_outside or images is None)
    read = partial(read_spacy, Path(path), source)
    return ImageReader(Path(path), read, noticed=source.noticed, limit=limit)


def read_spacy(path: Path, source: ImageSource) -> Iterator[AnnotatedImage]:
    """The annotated images of a `.spacy` file, or of all in a folder.

    Raises:
        OSError: a file or a picture is not there.
        ValueError: a file is not one of spaCy's, or a document has no picture.
    """
    files = sorted(path.rglob("*.spacy")) if path.is_dir() else [path]
    vocab = Vocab()
    for file in files:
        content = file.read_bytes()
        try:
            docs = list(DocBin().from_bytes(content).get_docs(vocab))
        except Exception as error:  # of zlib, MessagePack, or spaCy: whatever damage leads to
            raise ValueError(f"{file}: this is not a file of spaCy's DocBin: {error}") from error
        for number, doc in enumerate(docs, start=1):
            where = f"{file}, document {number}"
            try:
                image = read_doc(doc)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
            if image.picture.path is not None:
                found = source.find_picture(image.picture.path, where=where)
                image = replace(image, picture=replace(image.picture, path=found.path))
            yield image


def write_spacy(images: Iterable[AnnotatedImage], path: Path, *, nlp: Language) -> None:
    """Write documents with their pictures' paths, or the pictures that are in memory.

    Args:
        nlp: the pipeline that makes tokens of captions.
    """
    docs = (make_gold_doc(nlp, image) for image in images)
    data = DocBin(attrs=["ORTH", "SPACY"], store_user_data=True, docs=docs).to_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(data)
