"""`spacy-torch.LabelStudioImages.v1`: boxes and classes from Label Studio."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

from spacy_torch.features.boxes import Box
from spacy_torch.features.percent_boxes import from_percent, to_percent
from spacy_torch.features.picture import Picture
from spacy_torch.features.picture_files import to_uri
from spacy_torch.training.annotated_image import AnnotatedImage
from spacy_torch.training.coco import read_json
from spacy_torch.training.fields import get_list, get_number, get_object, get_text
from spacy_torch.training.image_reader import ImageReader
from spacy_torch.training.image_source import ImageSource
from spacy_torch.training.label_studio_min import join_minimal
from spacy_torch.training.lines import read_jsonl
from spacy_torch.training.noticed import Noticed

# What Label Studio puts before the path of a file that it serves.
_LOCAL = "/data/local-files/?d="
_UPLOADED = "/data/"


def build_label_studio_images(
    path: str | Path,
    images: str | None = None,
    labels: list[str] | None = None,
    outside: Literal["clip", "error"] = "clip",
    allow_outside: bool = False,
    image_key: str = "image",
    caption_key: str | None = None,
    limit: int = 0,
) -> ImageReader:
    """Boxes and classes from a JSON or JSONL file that Label Studio exported.

    Args:
        path: exported as JSON or JSON-MIN, or with one task per line. JSON-MIN does not say
            what a text of a record is: a chosen class must be under the name "choice".
        images: the folder of the pictures; null for that of the file.
        labels: those that exist, where others are a mistake; null for any.
        outside: a box that stands out of its picture is cut to it, or refused.
        allow_outside: a path may lead out of the folder.
        image_key: the name of the image in the data of a task.
        caption_key: the name of the text of its Doc there; null for none.
        limit: read only so many images; 0 reads all.
    """
    path = Path(path)
    source = ImageSource(
        Path(images) if images is not None else path.parent,
        allow_outside=allow_outside,
        labels=labels,
        outside=outside,
    )
    read = partial(read_label_studio, path, source, image_key=image_key, caption_key=caption_key)
    return ImageReader(path, read, noticed=source.noticed, limit=limit)


def read_label_studio(
    path: Path,
    source: ImageSource,
    *,
    image_key: str = "image",
    caption_key: str | None = None,
) -> list[AnnotatedImage]:
    """The annotated images of a file.

    Where classes were chosen, all other classes of the file do not apply.

    Raises:
        OSError: a file is not there.
        ValueError: it is not what Label Studio exports.
    """
    images: list[AnnotatedImage] = []
    for where, task in join_minimal(_read_tasks(path)):
        image = task_to_image(
            task, source, where=where, image_key=image_key, caption_key=caption_key
        )
        if image is not None:
            images.append(image)
    names = sorted({name for image in images for name in image.cats})
    return [
        replace(image, cats={**dict.fromkeys(names, 0.0), **image.cats}) if image.cats else image
        for image in images
    ]


def task_to_image(
    task: Mapping[str, Any],
    source: ImageSource,
    *,
    where: str,
    image_key: str = "image",
    caption_key: str | None = None,
) -> AnnotatedImage | None:
    """What one task says of its image; None if nobody annotated it.

    Of several annotations the one marked as ground truth counts, or else the last. The boxes
    are complete; a box that is turned is read as the upright one around it, and counted.

    Raises:
        FileNotFoundError: the picture is not there.
        ValueError: it is not what Label Studio exports, or the source refuses a path, label or
            box; the message begins with `where`.
    """
    annotations = [
        annotation
        for part in get_list(task, "annotations", where)
        if not (annotation := get_object(part, "an annotation", where)).get("was_cancelled")
    ]
    if "annotations" not in task:
        raise ValueError(
            f"{where}: a task must have 'data' and 'annotations', or be a record of JSON-MIN with "
            f"an 'annotation_id'; it has {sorted(task)}"
        )
    if not annotations:
        source.noticed.add("tasks skipped that are not annotated", where=where)
        return None
    source.noticed.add(
        "tasks with several annotations, of which one counts",
        where=where,
        count=len(annotations) > 1,
    )
    chosen = next((a for a in annotations if a.get("ground_truth")), annotations[-1])
    data = get_object(task.get("data"), "'data'", where)
    picture = source.find_picture(_read_path(get_text(data, image_key, where)), where=where)
    size = source.measure(picture, where=where)
    boxes: list[Box] = []
    cats: dict[str, float] = {}
    has_boxes = has_cats = False
    for part in get_list(chosen, "result", where):
        region = get_object(part, "a result", where)
        if region.get("type") == "choices":
            has_cats = True
            value = get_object(region.get("value"), "'value'", where)
            names = [str(name) for name in get_list(value, "choices", where)]
            cats |= {source.check_label(name, where=where): 1.0 for name in names}
        elif region.get("type") in ("rectanglelabels", "rectangle", "labels"):
            has_boxes = True
            boxes += _read_region(region, size, source, where)
        else:
            source.noticed.add("results that are neither boxes nor choices", where=where)
    return AnnotatedImage(
        picture,
        boxes=source.check_boxes(boxes, size, where=where) if has_boxes or not has_cats else None,
        cats=cats,
        caption=get_text(data, caption_key, where) if caption_key and caption_key in data else None,
    )


def image_to_task(image: AnnotatedImage, *, name_of: Callable[[Picture], str]) -> dict[str, Any]:
    """A task of Label Studio with one annotation that says what is known of an image.

    Its labelling interface should name its parts `image`, `label` (rectangles) and `choice`.

    Args:
        name_of: gives the path of a picture below the folder that Label Studio serves; one in
            memory becomes a data URI.
    """
    picture = image.picture
    width, height = picture.size
    uri = to_uri(picture) if picture.path is None else _LOCAL + quote(name_of(picture))
    data = {"image": uri, **({} if image.caption is None else {"text": image.caption})}
    shared = {"to_name": "image", "original_width": width, "original_height": height}
    result: list[dict[str, Any]] = []
    for box in image.boxes or ():
        value = {**to_percent(box, picture.size), "rectanglelabels": [box.label]}
        region = {**shared, "type": "rectanglelabels", "from_name": "label", "value": value}
        region |= {"image_rotation": 0}
        result.append(region if box.score == 1.0 else {**region, "score": box.score})
    chosen = [name for name, value in image.cats.items() if value >= 0.5]
    if chosen:
        choice = {"type": "choices", "from_name": "choice", "value": {"choices": chosen}}
        result.append({**shared, **choice})
    return {"data": data, "annotations": [{"result": result, "was_cancelled": False}]}


def images_to_tasks(
    images: Iterable[AnnotatedImage], *, name_of: Callable[[Picture], str], noticed: Noticed
) -> Iterator[dict[str, Any]]:
    """Tasks of Label Studio; what has no place in them is left out and counted."""
    for image in images:
        where = image.picture.name
        noticed.add("rejected boxes left out", where=where, count=len(image.rejected))
        noticed.add("images with some boxes only, as if all", where=where, count=not image.complete)
        if image.boxes is None and not any(value >= 0.5 for value in image.cats.values()):
            noticed.add("images left out that have no boxes and are of no class", where=where)
            continue
        yield image_to_task(image, name_of=name_of)


def _read_tasks(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open("rb") as file:
        is_list = file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    if not is_list:
        for line, task in read_jsonl(path):
            yield f"{path}, line {line}", task
        return
    for number, task in enumerate(read_json(path), start=1):
        identity = f" (id {task['id']})" if isinstance(task, Mapping) and "id" in task else ""
        where = f"{path}, task {number}{identity}"
        yield where, get_object(task, "a task", where)


def _read_path(uri: str) -> str:
    if uri.startswith(_LOCAL):
        return unquote(uri[len(_LOCAL) :])
    return uri[len(_UPLOADED) :] if uri.startswith(_UPLOADED) else uri


def _read_region(
    region: Mapping[str, Any], size: tuple[int, int], source: ImageSource, where: str
) -> list[Box]:
    """The boxes of a rectangle: one for each of its labels."""
    value = get_object(region.get("value"), "'value'", where)
    names = get_list(value, "rectanglelabels", where) or get_list(value, "labels", where)
    if not names:
        source.noticed.add("boxes without a label left out", where=where)
    if region.get("image_rotation"):
        raise ValueError(
            f"{where}: the image was turned by {region['image_rotation']} degrees while it was "
            "annotated, which is not supported: turn the file and annotate it again"
        )
    x, y, width, height = (get_number(value, key, where) for key in ("x", "y", "width", "height"))
    turn = get_number(value, "rotation", where) if "rotation" in value else 0.0
    source.noticed.add(
        "turned boxes read as the upright ones around them", where=where, count=turn != 0
    )
    score = get_number(region, "score", where) if region.get("score") is not None else 1.0
    sides = (x, y, width, height)
    return [from_percent(str(name), sides, size, rotation=turn, score=score) for name in names]


def write_label_studio(
    images: Iterable[AnnotatedImage],
    path: Path,
    *,
    name_of: Callable[[Picture], str],
    noticed: Noticed,
) -> None:
    """Write the tasks as a JSON file, to be imported into a project."""
    tasks = list(images_to_tasks(images, name_of=name_of, noticed=noticed))
    path.write_text(json.dumps(tasks, ensure_ascii=False, indent=1), encoding="utf-8")
