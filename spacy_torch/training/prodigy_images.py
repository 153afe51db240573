"""`spacy-torch.ProdigyImages.v1`: boxes and classes that Prodigy's annotators gave."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from spacy_torch.features.boxes import Box
from spacy_torch.features.picture import Picture
from spacy_torch.features.picture_files import to_uri
from spacy_torch.training.annotated_image import AnnotatedImage, merge_images
from spacy_torch.training.fields import get_list, get_number, get_object, get_text, to_number
from spacy_torch.training.image_reader import ImageReader
from spacy_torch.training.image_source import ImageSource
from spacy_torch.training.lines import read_jsonl
from spacy_torch.training.noticed import Noticed

ANSWERS = ("accept", "reject", "ignore")
_OF_CLASSES = ("classification", "choice")
_SIDES = ("x", "y", "width", "height")


def build_prodigy_images(
    path: str | Path,
    images: str | None = None,
    labels: list[str] | None = None,
    outside: Literal["clip", "error"] = "clip",
    allow_outside: bool = False,
    caption_key: str | None = None,
    limit: int = 0,
) -> ImageReader:
    """Boxes and classes from a JSONL file of Prodigy's image interfaces.

    Args:
        path: what `prodigy db-out` wrote.
        images: the folder of the pictures; null for that of the file.
        labels: those that exist, where others are a mistake; null for any.
        outside: a box that stands out of its picture is cut to it, or refused.
        allow_outside: a path may lead out of the folder.
        caption_key: the field of a line that is the text of its Doc; null for none.
        limit: read only so many images; 0 reads all.
    """
    path = Path(path)
    source = ImageSource(
        Path(images) if images is not None else path.parent,
        allow_outside=allow_outside,
        labels=labels,
        outside=outside,
    )
    read = partial(read_prodigy_images, path, source, caption_key=caption_key)
    return ImageReader(path, read, noticed=source.noticed, limit=limit)


def read_prodigy_images(
    path: Path, source: ImageSource, *, caption_key: str | None = None
) -> list[AnnotatedImage]:
    """The annotated images of a file, each once, with what all its lines say.

    Raises:
        OSError: a file is not there.
        ValueError: a line is not what Prodigy writes.
    """
    images = (
        task_to_image(task, source, where=f"{path}, line {line}", caption_key=caption_key)
        for line, task in read_jsonl(path)
    )
    return merge_images(image for image in images if image is not None)


def task_to_image(
    task: Mapping[str, Any], source: ImageSource, *, where: str, caption_key: str | None = None
) -> AnnotatedImage | None:
    """What one answer says of its image; None if it says nothing.

    - `image_manual`, or no `_view_id`: an accepted image has these boxes and no others. A
      rejected one says nothing, as it does not say what is wrong.
    - `image`: a question about one box, which is there, or is not. Others are not known.
    - `choice` or a `label`: classes that apply or do not.

    Polygons are read as the boxes around them, and counted.

    Raises:
        FileNotFoundError: the picture is not there.
        ValueError: it is not what Prodigy writes, or the source refuses a path, label or box;
            the message begins with `where`.
    """
    answer = task.get("answer", "accept")
    if answer not in ANSWERS:
        raise ValueError(f"{where}: 'answer' must be one of {', '.join(ANSWERS)}, got {answer!r}")
    if answer == "ignore":
        source.noticed.add("lines skipped that are ignored", where=where)
        return None
    image = get_text(task, "image", where)
    view = task.get("_view_id")
    boxes = [_read_span(span, source, where) for span in get_list(task, "spans", where)]
    has_boxes = bool(boxes) or ("spans" in task and view not in _OF_CLASSES)
    has_boxes = has_boxes or view == "image_manual"
    cats = _read_cats(task, source, answer, where)
    is_vague = (len(boxes) != 1 or view == "image_manual") if has_boxes else not cats
    if answer == "reject" and is_vague:
        source.noticed.add("lines skipped that are rejected as a whole", where=where)
        return None
    picture = source.find_picture(image, where=where)
    size = source.measure(picture, where=where)
    checked = source.check_boxes(boxes, size, where=where)
    return AnnotatedImage(
        picture,
        boxes=None if not has_boxes else checked if answer == "accept" else (),
        rejected=checked if has_boxes and answer == "reject" else (),
        complete=view != "image" and answer == "accept",
        cats=cats,
        caption=get_text(task, caption_key, where) if caption_key and caption_key in task else None,
    )


def image_to_tasks(
    image: AnnotatedImage, *, name_of: Callable[[Picture], str]
) -> Iterator[dict[str, Any]]:
    """Prodigy's answers that say what is known of an image.

    Args:
        name_of: gives the path of a picture; one in memory becomes a data URI.
    """
    picture = image.picture
    base: dict[str, Any] = {"image": to_uri(picture) if picture.path is None else name_of(picture)}
    if picture.path is not None:
        base["path"] = base["image"]
    if image.caption is not None:
        base["text"] = image.caption
    if image.boxes is not None:
        base["width"], base["height"] = picture.size
        spans = [_to_span(box) for box in image.boxes]
        if image.complete:
            yield {**base, "spans": spans, "answer": "accept", "_view_id": "image_manual"}
        else:
            for span in spans:
                yield {**base, "spans": [span], "answer": "accept", "_view_id": "image"}
        for box in image.rejected:
            yield {**base, "spans": [_to_span(box)], "answer": "reject", "_view_id": "image"}
    if len(image.cats) == 1:
        ((label, value),) = image.cats.items()
        answer = "accept" if value >= 0.5 else "reject"
        yield {**base, "label": label, "answer": answer, "_view_id": "classification"}
    elif image.cats:
        options = [{"id": label, "text": label} for label in image.cats]
        accepted = [label for label, value in image.cats.items() if value >= 0.5]
        choice = {"options": options, "accept": accepted, "answer": "accept", "_view_id": "choice"}
        yield {**base, **choice}


def count_lost(image: AnnotatedImage, noticed: Noticed) -> None:
    """Notice what Prodigy's answers cannot say."""
    where = image.picture.name
    is_lost = image.boxes == () and not image.complete and not image.rejected
    noticed.add("images of which nothing is known, left out", where=where, count=is_lost)
    unsure = sum(value not in (0.0, 1.0) for value in image.cats.values())
    noticed.add("probabilities of classes written as yes or no", where=where, count=unsure)


def _read_cats(
    task: Mapping[str, Any], source: ImageSource, answer: str, where: str
) -> dict[str, float]:
    cats: dict[str, float] = {}
    if answer == "accept" and ("options" in task or "accept" in task):
        options = [get_object(o, "an option", where) for o in get_list(task, "options", where)]
        accepted = [str(name) for name in get_list(task, "accept", where)]
        names = [str(option.get("id")) for option in options]
        cats = {name: float(name in accepted) for name in (*names, *accepted)}
        unknown = [name for name in accepted if names and name not in names]
        if unknown:
            raise ValueError(f"{where}: 'accept' has {unknown[0]!r}, which is not an option")
    elif isinstance(task.get("label"), str) and not get_list(task, "spans", where):
        cats = {task["label"]: float(answer == "accept")}
    for name in cats:
        source.check_label(name, where=where)
    return cats


def _read_span(span: Any, source: ImageSource, where: str) -> Box:
    span = get_object(span, "a span", where)
    label = get_text(span, "label", where)
    score = get_number(span, "score", where) if "score" in span else 1.0
    if span.get("type", "rect") != "rect":
        source.noticed.add("polygons read as the boxes around them", where=where)
    if "x" in span and "width" in span and span.get("type", "rect") == "rect":
        x, y, width, height = (get_number(span, key, where) for key in _SIDES)
        return Box(label, x, y, width, height, score)
    points = get_list(span, "points", where)
    if len(points) < 2 or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise ValueError(
            f"{where}: a span must have 'x', 'y', 'width' and 'height', or 'points' as a list of "
            f"[x, y], got {span!r}"
        )
    xs, ys = zip(*[[to_number(value, "points", where) for value in p] for p in points], strict=True)
    return Box(label, min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys), score)


def _to_span(box: Box) -> dict[str, Any]:
    left, top, right, bottom = box.corners
    span = {
        "label": box.label,
        "type": "rect",
        "x": box.x,
        "y": box.y,
        "width": box.width,
        "height": box.height,
        "center": [box.x + box.width / 2, box.y + box.height / 2],
        "points": [[left, top], [left, bottom], [right, bottom], [right, top]],
    }
    return span if box.score == 1.0 else {**span, "score": box.score}
