"""`spacy-torch.COCO.v1`: boxes in the JSON format of the COCO data set."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from spacy_torch.features.boxes import Box
from spacy_torch.features.picture import Picture
from spacy_torch.training.annotated_image import AnnotatedImage
from spacy_torch.training.fields import get_list, get_number, get_object, get_text, to_number
from spacy_torch.training.image_reader import ImageReader
from spacy_torch.training.image_source import ImageSource
from spacy_torch.training.noticed import Noticed


def build_coco(
    path: str | Path,
    images: str | None = None,
    labels: list[str] | None = None,
    outside: Literal["clip", "error"] = "clip",
    allow_outside: bool = False,
    limit: int = 0,
) -> ImageReader:
    """Images with all their boxes, from one JSON file.

    Args:
        path: the file of annotations.
        images: the folder of the pictures; null for that of the file.
        labels: those that exist, where others are a mistake; null for any.
        outside: a box that stands out of its picture is cut to it, or refused.
        allow_outside: a path may lead out of the folder.
        limit: read only so many images; 0 reads all.
    """
    path = Path(path)
    source = ImageSource(
        Path(images) if images is not None else path.parent,
        allow_outside=allow_outside,
        labels=labels,
        outside=outside,
    )
    return ImageReader(path, partial(read_coco, path, source), noticed=source.noticed, limit=limit)


def read_coco(path: Path, source: ImageSource) -> Iterator[AnnotatedImage]:
    """The annotated images of a file.

    Raises:
        OSError: a file is not there.
        ValueError: it is not JSON, or not COCO's.
    """
    return coco_to_images(read_json(path), source, name=str(path))


def coco_to_images(data: Any, source: ImageSource, *, name: str) -> Iterator[AnnotatedImage]:
    """The images of parsed annotations, each with all its boxes, be it none.

    Crowds, which are no single objects, are left out and counted. Segmentations are not read.

    Args:
        name: of the file, for errors.

    Raises:
        FileNotFoundError: a picture is not there.
        ValueError: something is not as COCO has it, an annotation is of an image or category
            that does not exist, or the source refuses a path, label or box.
    """
    data = get_object(data, "the content", name)
    for key in ("images", "annotations", "categories"):
        if key not in data:
            raise ValueError(f"{name}: {key!r} is missing: this is not a COCO file of boxes")
    labels = _read_categories(data, name)
    boxes = _read_boxes(data, labels, source, name)
    seen: set[Any] = set()
    for number, record in enumerate(get_list(data, "images", name)):
        where = f"{name}, images[{number}]"
        record = get_object(record, "an image", where)
        identity = _read_id(record, "id", where)
        if identity in seen:
            raise ValueError(f"{where}: there is another image with the id {identity!r}")
        seen.add(identity)
        picture = source.find_picture(get_text(record, "file_name", where), where=where)
        size = source.measure(picture, where=where)
        found = boxes.pop(identity, [])
        checked = (source.check_boxes([box], size, where=place) for place, box in found)
        yield AnnotatedImage(picture, boxes=tuple(box for part in checked for box in part))
    for image, ((where, _), *_) in boxes.items():
        raise ValueError(f"{where}: there is no image with the id {image!r}")


def images_to_coco(
    images: Iterable[AnnotatedImage], *, name_of: Callable[[Picture], str], noticed: Noticed
) -> dict[str, Any]:
    """Annotations as COCO has them, of all images of which boxes are known.

    What has no place in the format is left out and counted: classes of images, rejected boxes,
    and that boxes are not complete.

    Args:
        name_of: gives the file name of a picture.
    """
    records: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: dict[str, int] = {}
    for image in images:
        where = image.picture.name
        noticed.add("classes of images left out", where=where, count=bool(image.cats))
        noticed.add("rejected boxes left out", where=where, count=len(image.rejected))
        if image.boxes is None:
            noticed.add("images left out of which no boxes are known", where=where)
            continue
        noticed.add("images with some boxes only, as if all", where=where, count=not image.complete)
        width, height = image.picture.size
        file_name = name_of(image.picture)
        number = len(records) + 1
        records.append({"id": number, "file_name": file_name, "width": width, "height": height})
        for label, *rectangle, score in image.boxes:
            annotation = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": categories.setdefault(label, len(categories) + 1),
                "bbox": rectangle,
                "area": rectangle[2] * rectangle[3],
                "iscrowd": 0,
            }
            annotations.append(annotation if score == 1.0 else {**annotation, "score": score})
    return {
        "images": records,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
    }


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        OSError: the file is not there.
        ValueError: it is not JSON in UTF-8.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start + 1} is not UTF-8") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error


def _read_categories(data: Mapping[str, Any], name: str) -> dict[Any, str]:
    found: dict[Any, str] = {}
    for number, category in enumerate(get_list(data, "categories", name)):
        where = f"{name}, categories[{number}]"
        category = get_object(category, "a category", where)
        found[_read_id(category, "id", where)] = get_text(category, "name", where)
    return found


def _read_boxes(
    data: Mapping[str, Any], labels: Mapping[Any, str], source: ImageSource, name: str
) -> dict[Any, list[tuple[str, Box]]]:
    """By the id of their image, boxes and where they stand."""
    found: dict[Any, list[tuple[str, Box]]] = defaultdict(list)
    for number, record in enumerate(get_list(data, "annotations", name)):
        where = f"{name}, annotations[{number}]"
        record = get_object(record, "an annotation", where)
        category = _read_id(record, "category_id", where)
        if category not in labels:
            raise ValueError(f"{where}: there is no category with the id {category!r}")
        if record.get("iscrowd"):
            source.noticed.add("crowds left out", where=where)
            continue
        rectangle = get_list(record, "bbox", where)
        if len(rectangle) != 4:
            raise ValueError(f"{where}: 'bbox' must be [x, y, width, height], got {rectangle!r}")
        x, y, width, height = (to_number(value, "bbox", where) for value in rectangle)
        score = get_number(record, "score", where) if "score" in record else 1.0
        box = Box(labels[category], x, y, width, height, score)
        found[_read_id(record, "image_id", where)].append((where, box))
    return found


def _read_id(record: Mapping[str, Any], key: str, where: str) -> Any:
    found = record.get(key)
    if not isinstance(found, (int, str)):
        raise ValueError(f"{where}: {key!r} must be a whole number or text, got {found!r}")
    return found
