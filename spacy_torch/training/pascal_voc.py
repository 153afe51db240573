"""`spacy-torch.PascalVOC.v1`: boxes in the XML format of the Pascal VOC challenges."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from spacy_torch.features.boxes import Box
from spacy_torch.features.picture import Picture
from spacy_torch.training.annotated_image import AnnotatedImage
from spacy_torch.training.image_reader import ImageReader
from spacy_torch.training.image_source import ImageSource
from spacy_torch.training.lines import read_lines
from spacy_torch.training.noticed import Noticed


def build_pascal_voc(
    path: str | Path,
    split: str | None = None,
    images: str | None = None,
    labels: list[str] | None = None,
    outside: Literal["clip", "error"] = "clip",
    allow_outside: bool = False,
    from_one: bool = False,
    limit: int = 0,
) -> ImageReader:
    """Images with all their boxes, from an XML file for each image.

    Args:
        path: a folder with `Annotations`, `JPEGImages` and `ImageSets`, or one of XML files.
        split: `ImageSets/Main/<split>.txt` lists the names to read; null reads all.
        images: the folder of the pictures; null for `JPEGImages`, or that of the XML files.
        labels: those that exist, where others are a mistake; null for any.
        outside: a box that stands out of its picture is cut to it, or refused.
        allow_outside: a path may lead out of the folder.
        from_one: the corners are pixels counted from 1 and both belong to the box, as in the
            challenges themselves. Most tools write edges counted from 0 instead.
        limit: read only so many images; 0 reads all.
    """
    path = Path(path)
    has_parts = (path / "Annotations").is_dir()
    default = path / "JPEGImages" if has_parts else path
    source = ImageSource(
        Path(images) if images is not None else default,
        allow_outside=allow_outside,
        labels=labels,
        outside=outside,
    )
    read = partial(read_pascal_voc, path, source, split=split, from_one=from_one)
    return ImageReader(path, read, noticed=source.noticed, limit=limit)


def read_pascal_voc(
    path: Path, source: ImageSource, *, split: str | None = None, from_one: bool = False
) -> Iterator[AnnotatedImage]:
    """The annotated images of a folder, by the order of the split or of their names.

    Raises:
        OSError: a file is not there.
        ValueError: a file is not XML, or not that of Pascal VOC.
    """
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    if split is None:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: there is no such folder of XML files")
        files = sorted(folder.glob("*.xml"))
    else:
        lines = read_lines(path / "ImageSets" / "Main" / f"{split}.txt")
        # The lists of one class say 1, -1 or 0 after the name.
        names = (line.split()[0] for _, line in lines if line.strip())
        files = [folder / f"{os.path.basename(name)}.xml" for name in names]
    for file in files:
        yield xml_to_image(file.read_bytes(), source, name=str(file), from_one=from_one)


def xml_to_image(
    content: bytes, source: ImageSource, *, name: str, from_one: bool = False
) -> AnnotatedImage:
    """The image of one XML file, with all its boxes.

    Args:
        name: of the file, for errors.

    Raises:
        FileNotFoundError: the picture is not there.
        ValueError: it is not XML, or not as Pascal VOC has it, or the source refuses a path,
            label or box.
    """
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError(f"{name}: a file with a document type is not read: remove <!DOCTYPE ...>")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{name}: not valid XML: {error}") from error
    picture = source.find_picture(_find_text(root, "filename", name), where=name)
    boxes: list[Box] = []
    for number, element in enumerate(root.findall("object"), start=1):
        boxes.append(_read_box(element, f"{name}, object {number}", from_one=from_one))
    size = source.measure(picture, where=name)
    checked = (
        source.check_boxes([box], size, where=f"{name}, object {number}")
        for number, box in enumerate(boxes, start=1)
    )
    return AnnotatedImage(picture, boxes=tuple(box for part in checked for box in part))


def image_to_xml(image: AnnotatedImage, *, name: str) -> bytes:
    """One image and its boxes as Pascal VOC has them, edges counted from 0.

    Args:
        name: of the picture's file.
    """
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = name
    size = ElementTree.SubElement(root, "size")
    for key, value in zip(("width", "height", "depth"), (*image.picture.size, 3), strict=True):
        ElementTree.SubElement(size, key).text = str(value)
    for box in image.boxes or ():
        element = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(element, "name").text = box.label
        ElementTree.SubElement(element, "difficult").text = "0"
        corners = ElementTree.SubElement(element, "bndbox")
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box.corners, strict=True):
            ElementTree.SubElement(corners, key).text = _write_number(value)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8")


def write_pascal_voc(
    images: Iterable[AnnotatedImage],
    path: Path,
    *,
    name_of: Callable[[Picture], str],
    noticed: Noticed,
) -> None:
    """Write `Annotations/<name>.xml` for each image of which boxes are known.

    What has no place in the format is left out and counted: classes of images, scores,
    rejected boxes, and that boxes are not complete.

    Raises:
        ValueError: two pictures have the same name, or a label cannot be written in XML.
    """
    seen: dict[str, str] = {}
    for image in images:
        where = image.picture.name
        noticed.add("classes of images left out", where=where, count=bool(image.cats))
        noticed.add("rejected boxes left out", where=where, count=len(image.rejected))
        if image.boxes is None:
            noticed.add("images left out of which no boxes are known", where=where)
            continue
        noticed.add("images with some boxes only, as if all", where=where, count=not image.complete)
        unsure = sum(box.score != 1.0 for box in image.boxes)
        noticed.add("scores of boxes left out", where=where, count=unsure)
        name = name_of(image.picture)
        stem = Path(name).stem
        if stem in seen:
            raise ValueError(f"{where} and {seen[stem]} would both be {stem}.xml: rename one")
        seen[stem] = where
        content = image_to_xml(image, name=name)
        try:
            ElementTree.fromstring(content)
        except ElementTree.ParseError as error:
            raise ValueError(f"{where}: a label cannot be written in XML: {error}") from error
        file = path / "Annotations" / f"{stem}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _read_box(element: ElementTree.Element, where: str, *, from_one: bool) -> Box:
    label = _find_text(element, "name", where)
    corners = [
        _find_number(element, f"bndbox/{key}", where) for key in ("xmin", "ymin", "xmax", "ymax")
    ]
    left, top, right, bottom = corners
    if from_one:
        left, top = left - 1, top - 1
    return Box(label, left, top, right - left, bottom - top)


def _find_text(element: ElementTree.Element, path: str, where: str) -> str:
    found = element.findtext(path)
    if found is None or not found.strip():
        raise ValueError(f"{where}: <{path}> is missing or empty: this is not Pascal VOC")
    return found.strip()


def _find_number(element: ElementTree.Element, path: str, where: str) -> float:
    found = _find_text(element, path, where)
    try:
        value = float(found)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: <{path}> must be a finite number, got {found!r}")
    return value


def _write_number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
