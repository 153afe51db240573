"""`spacy-torch.ClassFolders.v1`: a folder with a folder of images for each class."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from spacy_torch.features.picture_files import SUFFIXES, file_name
from spacy_torch.training.annotated_image import AnnotatedImage
from spacy_torch.training.image_reader import ImageReader
from spacy_torch.training.image_source import ImageSource
from spacy_torch.training.noticed import Noticed


def build_class_folders(
    path: str | Path,
    labels: list[str] | None = None,
    allow_outside: bool = False,
    limit: int = 0,
) -> ImageReader:
    """One class per image: that of its folder.

    Args:
        path: a folder that has folders.
        labels: the classes, where other folders are a mistake; null for all there are.
        allow_outside: links may lead out of the folder.
        limit: read only so many images; 0 reads all.
    """
    source = ImageSource(Path(path), allow_outside=allow_outside, labels=labels)
    read = partial(read_class_folders, source)
    return ImageReader(Path(path), read, noticed=source.noticed, limit=limit)


def read_class_folders(source: ImageSource) -> Iterator[AnnotatedImage]:
    """The images below each folder of a folder, sorted by their paths.

    The other classes are known not to apply. Hidden folders and files are passed over, and so
    are files whose suffix is not one of an image, which are counted.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a folder is not one of the labels, or a link leads out.
    """
    root = source.folder
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder of classes")
    folders = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
    for folder in folders:
        source.check_label(folder.name, where=str(folder))
    names = source.labels or [folder.name for folder in folders]
    for folder in folders:
        cats = {name: float(name == folder.name) for name in names}
        is_empty = True
        for file in _walk(folder):
            if file.suffix.lower() not in SUFFIXES:
                source.noticed.add("files without the suffix of an image", where=str(file))
                continue
            is_empty = False
            path = os.path.relpath(file, root)
            yield AnnotatedImage(source.find_picture(path, where=str(file)), cats=cats)
        source.noticed.add("classes without images", where=str(folder), count=is_empty)


def write_class_folders(images: Iterable[AnnotatedImage], path: Path, *, noticed: Noticed) -> None:
    """Copy each image to the folder of its class.

    Raises:
        ValueError: a class cannot be the name of a folder, or something is there already.
    """
    if path.exists() and any(path.iterdir()):
        raise ValueError(f"there is something in {path}: name another folder")
    for image in images:
        picture = image.picture
        names = [name for name, value in image.cats.items() if value >= 0.5]
        if len(names) != 1:
            noticed.add("images left out that are not of exactly one class", where=picture.name)
            continue
        (name,) = names
        if not name or name != os.path.basename(name) or name.startswith("."):
            raise ValueError(f"the class {name!r} cannot be the name of a folder: rename it")
        noticed.add(
            "boxes left out, for which there is no place",
            where=picture.name,
            count=len(image.boxes or ()),
        )
        file = path / name / file_name(picture.name, picture.read_bytes())
        if file.exists():
            file = file.with_stem(f"{file.stem}-{picture.key}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture.read_bytes())


def _walk(folder: Path) -> Iterator[Path]:
    for name, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield from (Path(name) / file for file in sorted(files) if not file.startswith("."))
