"""The formats of annotated images, each read into and written from the same thing."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from spacy.language import Language

from spacy_torch.features.picture import Picture
from spacy_torch.features.picture_files import file_name
from spacy_torch.training.annotated_image import AnnotatedImage
from spacy_torch.training.class_folders import build_class_folders, write_class_folders
from spacy_torch.training.coco import build_coco, images_to_coco
from spacy_torch.training.image_corpus import build_image_corpus, write_spacy
from spacy_torch.training.image_reader import ImageReader
from spacy_torch.training.label_studio_images import (
    build_label_studio_images,
    write_label_studio,
)
from spacy_torch.training.lines import read_jsonl
from spacy_torch.training.noticed import Noticed
from spacy_torch.training.pascal_voc import build_pascal_voc, write_pascal_voc
from spacy_torch.training.prodigy_images import build_prodigy_images, count_lost, image_to_tasks

READERS: dict[str, Callable[..., ImageReader]] = {
    "coco": build_coco,
    "voc": build_pascal_voc,
    "prodigy": build_prodigy_images,
    "label-studio": build_label_studio_images,
    "folders": build_class_folders,
    "spacy": build_image_corpus,
}


def guess_format(path: Path) -> str:
    """The format of a file or folder that is there, by its suffix and how it begins.

    Raises:
        ValueError: it could be any.
    """
    if path.is_dir():
        has_xml = (path / "Annotations").is_dir() or any(path.glob("*.xml"))
        return "voc" if has_xml else "spacy" if any(path.glob("*.spacy")) else "folders"
    if path.suffix == ".spacy":
        return "spacy"
    if path.suffix == ".jsonl":
        _, first = next(read_jsonl(path), (0, {}))
        return "label-studio" if "annotations" in first else "prodigy"
    if path.suffix == ".json":
        with path.open("rb") as file:
            start = file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n")
        return "label-studio" if start.startswith(b"[") else "coco"
    raise ValueError(f"cannot tell the format of {path}: name it with --from")


def read_images(
    path: Path, format: str, *, images: Path | None = None, **settings: Any
) -> ImageReader:
    """A reader of annotated images.

    Args:
        images: the folder of the pictures; None for what the format has by default.
        settings: of the reader of this format.

    Raises:
        ValueError: there is no such format, or it has no such setting.
    """
    _check_format(format, READERS)
    if images is not None and format != "folders":
        settings["images"] = str(images)
    try:
        return READERS[format](path, **settings)
    except TypeError as error:
        raise ValueError(f"the format {format!r} has no such setting: {error}") from error


def write_images(
    images: Sequence[AnnotatedImage],
    path: Path,
    format: str,
    *,
    nlp: Language,
    folder: Path | None = None,
) -> Noticed:
    """Write annotated images, and say what had no place in the format.

    Args:
        nlp: makes tokens of captions, for spaCy's own format.
        folder: that the paths of pictures are written from, where a format does so; None for
            the one that all pictures have in common.

    Raises:
        ValueError: there is no such format, a picture lies outside of the folder, or one in
            memory has no place in the format.
    """
    _check_format(format, READERS)
    noticed = Noticed()
    if format == "spacy":
        write_spacy(images, path, nlp=nlp)
        return noticed
    if format == "folders":
        write_class_folders(images, path, noticed=noticed)
        return noticed
    name_of = partial(_name_below, folder=folder or common_folder(images))
    path.parent.mkdir(parents=True, exist_ok=True)
    if format == "prodigy":
        with path.open("w", encoding="utf-8") as file:
            for image in images:
                count_lost(image, noticed)
                for task in image_to_tasks(image, name_of=name_of):
                    file.write(json.dumps(task, ensure_ascii=False) + "\n")
    elif format == "label-studio":
        write_label_studio(images, path, name_of=name_of, noticed=noticed)
    elif format == "voc":
        write_pascal_voc(images, path, name_of=name_of, noticed=noticed)
    else:
        data = images_to_coco(images, name_of=name_of, noticed=noticed)
        path.write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")
    return noticed


def save_pictures(images: Sequence[AnnotatedImage], folder: Path) -> list[AnnotatedImage]:
    """The same images with a file in the folder for each picture that was in memory."""
    saved: list[AnnotatedImage] = []
    for image in images:
        picture = image.picture
        if picture.data is not None:
            file = folder / file_name(picture.name, picture.data)
            folder.mkdir(parents=True, exist_ok=True)
            file.write_bytes(picture.data)
            image = replace(image, picture=replace(picture, path=str(file), data=None))
        saved.append(image)
    return saved


def check_pictures(images: Sequence[AnnotatedImage]) -> tuple[list[AnnotatedImage], list[str]]:
    """The images whose pictures can be decoded, and what is wrong with the others."""
    good: list[AnnotatedImage] = []
    wrong: list[str] = []
    for image in images:
        try:
            image.picture.open()
            good.append(image)
        except (OSError, ValueError) as error:
            wrong.append(str(error))
    return good, wrong


def split_images(
    images: Sequence[AnnotatedImage], *, fraction: float, seed: int
) -> tuple[list[AnnotatedImage], list[AnnotatedImage]]:
    """All but a share of the images, and that share, drawn by chance; both in their order.

    Raises:
        ValueError: the share is not from 0 to below 1, or leaves a part without images.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"the share to hold out must be >= 0 and < 1, got {fraction}")
    n_held = round(len(images) * fraction)
    if fraction and not 0 < n_held < len(images):
        raise ValueError(f"a share of {fraction} of {len(images)} images leaves a part empty")
    held = set(random.Random(seed).sample(range(len(images)), n_held))
    parts: tuple[list[AnnotatedImage], list[AnnotatedImage]] = ([], [])
    for number, image in enumerate(images):
        parts[number in held].append(image)
    return parts


def common_folder(images: Sequence[AnnotatedImage]) -> Path:
    """The folder in which all files of pictures are, directly or below."""
    paths = [image.picture.path for image in images if image.picture.path is not None]
    folders = [os.path.dirname(os.path.abspath(path)) for path in paths]
    try:
        return Path(os.path.commonpath(folders)) if folders else Path.cwd()
    except ValueError:  # several drives
        return Path.cwd()


def _name_below(picture: Picture, *, folder: Path) -> str:
    if picture.path is None:
        raise ValueError(
            f"{picture.name} is in memory, and the format needs files: name a folder to save "
            "such pictures in with --save"
        )
    name = os.path.relpath(os.path.realpath(picture.path), os.path.realpath(folder))
    if name.split(os.sep)[0] == os.pardir:
        raise ValueError(
            f"{picture.path} is not in the folder {folder}, from which paths are written: name "
            "another one with --relative-to"
        )
    return name.replace(os.sep, "/")


def _check_format(format: str, known: dict[str, Any]) -> None:
    if format not in known:
        raise ValueError(f"there is no format {format!r}, only {', '.join(known)}")
