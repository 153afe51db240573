"""Tasks in both forms: Label Studio's results, and questions and answers as Prodigy has them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from spacy_torch.annotation.box_questions import read_places, to_span
from spacy_torch.annotation.label_studio_interface import Interface
from spacy_torch.annotation.tasks import Task, check_answer, set_hashes, show
from spacy_torch.features.boxes import Box, clip_box
from spacy_torch.features.percent_boxes import from_percent, to_percent
from spacy_torch.features.picture import Picture
from spacy_torch.features.picture_files import to_uri

Result = dict[str, Any]


def task_to_import(task: Task, interface: Interface) -> dict[str, Any]:
    """A task to be imported into a project; a picture goes along as a data URI.

    Raises:
        ValueError: it does not have what the interface shows.
    """
    value = task.get(interface.media)
    if not isinstance(value, str) or not value:
        raise ValueError(f"the interface shows {interface.media!r}, which {show(task)} has not")
    if interface.media == "image":
        value = to_uri(Picture.from_source(value))
    return {"data": {interface.key: value}, **({"meta": task["meta"]} if "meta" in task else {})}


def read_shown(record: Mapping[str, Any], interface: Interface) -> str:
    """The text or the address of the image of a task of Label Studio.

    Raises:
        ValueError: it has none.
    """
    data = record.get("data")
    value = data.get(interface.key) if isinstance(data, Mapping) else None
    if not isinstance(value, str) or not value:
        raise ValueError(
            f"task {record.get('id')} has no text {interface.key!r} in its data, which the "
            f"labelling config shows; it has {sorted(data) if isinstance(data, Mapping) else data}"
        )
    return value


def make_question(source: Task, labels: Sequence[str], *, view_id: str) -> Task:
    """The question that every annotator of an interface answers.

    Args:
        labels: of the component, in its order.
        view_id: Prodigy's interface of the kind: choice, ner_manual, spans_manual, image_manual.
    """
    question = {key: value for key, value in source.items() if key != "_task_hash"}
    if view_id == "choice":
        options = [{"id": label, "text": label} for label in labels]
        return {**set_hashes({**question, "options": options}), "_view_id": view_id}
    return {**set_hashes({**question, "spans": []}), "_view_id": view_id}


def read_annotation(annotation: Mapping[str, Any], question: Task, interface: Interface) -> Task:
    """The answer that an annotation gives to a question.

    A cancelled one ("skip") is ignored. Results of other controls are left out. A rectangle
    that is turned becomes the upright box around it, and what stands out of a picture is cut.

    Raises:
        ValueError: it is not of the form that Label Studio gives results; the message says
            which annotation.
    """
    where = f"annotation {annotation.get('id')}"
    if annotation.get("was_cancelled"):
        return {**question, "answer": "ignore"}
    results = annotation.get("result")
    if not isinstance(results, list) or not all(isinstance(one, Mapping) for one in results):
        raise ValueError(f"{where}: 'result' must be a list of objects, got {results!r:.100}")
    wanted = interface.from_name, interface.kind
    results = [one for one in results if (one.get("from_name"), one.get("type")) == wanted]
    if interface.kind == "choices":
        accept = [name for result in results for name in _read_names(result, "choices", where)]
        return {**question, "accept": list(dict.fromkeys(accept)), "answer": "accept"}
    read = _read_span if interface.kind == "labels" else _read_box
    spans = [span for result in results for span in read(result, question, where)]
    return {**question, "spans": spans, "answer": "accept"}


def write_annotation(task: Task, interface: Interface) -> dict[str, Any]:
    """An annotation that says what an answered task says.

    A rejected one is cancelled, as an ignored one is: neither says what is right.

    Raises:
        ValueError: it has no answer, or boxes and nothing to know the size of the picture by.
    """
    if check_answer(task) != "accept":
        return {"result": [], "was_cancelled": True}
    return {"result": write_results(task, interface), "was_cancelled": False}


def write_results(task: Task, interface: Interface) -> list[Result]:
    """The choices, spans or boxes of a task, as results of the interface.

    Raises:
        ValueError: it has boxes, and nothing to know the size of the picture by, or what
            should be one is not.
    """
    shared: Result = {
        "type": interface.kind,
        "from_name": interface.from_name,
        "to_name": interface.to_name,
    }
    if interface.kind == "choices":
        accept = list(task.get("accept", []))
        return [{**shared, "id": "choice", "value": {"choices": accept}}] if accept else []
    if interface.kind == "labels":
        values = [_write_span(span, task) for span in task.get("spans", [])]
    elif task.get("spans"):
        width, height = size = _find_size(task)
        shared |= {"original_width": width, "original_height": height, "image_rotation": 0}
        values = [
            {**to_percent(Box(*place), size), "rectanglelabels": [place.label]}
            for place in read_places(task)
        ]
    else:
        values = []
    return [{**shared, "id": f"mark-{place}", "value": value} for place, value in enumerate(values)]


def _read_span(result: Result, question: Task, where: str) -> list[dict[str, Any]]:
    text = question["text"]
    value = _get(result, "value", Mapping, where)
    start, end = _get(value, "start", int, where), _get(value, "end", int, where)
    if not 0 <= start < end <= len(text):
        raise ValueError(
            f"{where}: a span must be within the {len(text)} characters of {show(question)}, got "
            f"{start} to {end}"
        )
    # The browser says which words were marked. If those of the text are others, places are not
    # to be trusted.
    marked = value.get("text")
    if isinstance(marked, str) and "".join(marked.split()) != "".join(text[start:end].split()):
        raise ValueError(
            f"{where}: the marked text is {marked!r:.60}, but {show(question)} has "
            f"{text[start:end]!r:.60} from {start} to {end}: the text of the task was changed"
        )
    names = _read_names(result, "labels", where)
    return [{"start": start, "end": end, "label": name} for name in names]


def _read_box(result: Result, question: Task, where: str) -> list[dict[str, Any]]:
    value = _get(result, "value", Mapping, where)
    if result.get("image_rotation"):
        raise ValueError(
            f"{where}: the image was turned by {result['image_rotation']} degrees while it was "
            "annotated, which is not supported: turn the file and annotate it again"
        )
    sides = tuple(_get_number(value, key, where) for key in ("x", "y", "width", "height"))
    rotation = _get_number(value, "rotation", where) if "rotation" in value else 0.0
    size = _find_size({**result, **question})
    spans: list[dict[str, Any]] = []
    for name in _read_names(result, "rectanglelabels", where):
        whole = from_percent(name, sides, size, rotation=rotation)  # pyright: ignore[reportArgumentType]
        box = clip_box(whole, size)
        if box is not None:  # nothing of it is in the picture, or it has no area
            spans.append(to_span(box))
    return spans


def _write_span(span: Mapping[str, Any], task: Task) -> Result:
    start, end = span["start"], span["end"]
    text = task["text"][start:end]
    return {"start": start, "end": end, "text": text, "labels": [span["label"]]}


def _find_size(task: Mapping[str, Any]) -> tuple[int, int]:
    """The size of a picture, as far as it is written; or else of the picture itself."""
    for keys in (("width", "height"), ("original_width", "original_height")):
        sides = [task.get(key) for key in keys]
        if all(isinstance(side, int) and side > 0 for side in sides):
            return sides[0], sides[1]  # pyright: ignore[reportReturnType]
    if not task.get("image"):
        raise ValueError(
            f"a task with boxes must have 'width' and 'height', or an 'image', got "
            f"{show(dict(task))}"
        )
    return Picture.from_source(task["image"]).size


def _read_names(result: Result, key: str, where: str) -> Sequence[str]:
    value = _get(result, "value", Mapping, where)
    names = value.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: {key!r} must be a list of labels, got {names!r:.100}")
    return names


def _get(record: Mapping[str, Any], key: str, kind: type[Any], where: str) -> Any:
    value = record.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{where}: {key!r} must be of {kind.__name__}, got {value!r:.100}")
    return value


def _get_number(record: Mapping[str, Any], key: str, where: str) -> float:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{where}: {key!r} must be a finite number, got {value!r:.100}")
    return float(value)
