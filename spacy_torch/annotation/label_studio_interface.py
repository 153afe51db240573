"""The labelling interface of a Label Studio project: what it shows, and what it asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

Kind = Literal["choices", "labels", "rectanglelabels"]
Media = Literal["text", "image"]

# Of each kind: the tag of the control, that of one label, and what it can be about.
_CONTROLS: dict[Kind, tuple[str, str, tuple[Media, ...]]] = {
    "choices": ("Choices", "Choice", ("text", "image")),
    "labels": ("Labels", "Label", ("text",)),
    "rectanglelabels": ("RectangleLabels", "Label", ("image",)),
}
_OBJECTS: dict[Media, str] = {"text": "Text", "image": "Image"}


@dataclass(frozen=True)
class Interface:
    """The part of a labelling interface that a component answers.

    Attributes:
        kind: classes, spans of a text, or boxes in a picture; also the type of a result.
        media: what is shown.
        labels: in the order of the interface.
        many: any number of choices may be made, not just one.
        from_name: the name of the control.
        to_name: the name of what it is about.
        key: where the text or image stands in the data of a task.
    """

    kind: Kind
    media: Media
    labels: tuple[str, ...]
    many: bool = False
    from_name: str = "label"
    to_name: str = "input"
    key: str = "text"


def make_interface(
    kind: Kind, labels: Sequence[str], *, media: Media = "text", many: bool = False
) -> Interface:
    """An interface for a new project.

    Raises:
        ValueError: there are no labels, one is empty or comes twice, or the kind does not go
            with what is shown.
    """
    if media not in _CONTROLS[kind][2]:
        raise ValueError(f"{kind} must be about {' or '.join(_CONTROLS[kind][2])}, got {media!r}")
    if not labels or not all(label.strip() for label in labels):
        raise ValueError(f"an interface needs labels that are not empty, got {list(labels)}")
    if len(set(labels)) < len(labels):
        raise ValueError(f"the labels of an interface must differ, got {list(labels)}")
    return Interface(kind, media, tuple(labels), many=many, to_name=media, key=media)


def write_interface(interface: Interface) -> str:
    """The labelling config, in XML."""
    view = ElementTree.Element("View")
    shown = {"name": interface.to_name, "value": f"${interface.key}"}
    if interface.kind == "labels":
        # A label must be chosen before the words are marked: show it above them.
        control = _add_control(view, interface)
        ElementTree.SubElement(view, _OBJECTS[interface.media], shown)
    else:
        ElementTree.SubElement(view, _OBJECTS[interface.media], shown)
        control = _add_control(view, interface)
    for label in interface.labels:
        ElementTree.SubElement(control, _CONTROLS[interface.kind][1], {"value": label})
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode")


def read_interface(xml: str, *, from_name: str | None = None) -> Interface:
    """What a labelling config asks.

    Args:
        from_name: the name of the control, where there are several.

    Raises:
        ValueError: it is no such config, has no control of a kind that is supported, or
            several, none of which was named.
    """
    found = _read_controls(xml)
    if from_name is not None:
        named = [interface for interface in found if interface.from_name == from_name]
        if not named:
            names = [interface.from_name for interface in found]
            raise ValueError(
                f"the labelling config has no control {from_name!r} that can be learned: those "
                f"that can are {names}"
            )
        return named[0]
    if not found:
        raise ValueError(
            "the labelling config has no control that can be learned: it must have Choices for "
            "Text or an Image, Labels for Text, or RectangleLabels for an Image"
        )
    if len(found) > 1:
        raise ValueError(
            f"the labelling config has several controls that can be learned, "
            f"{[interface.from_name for interface in found]}: name one of them"
        )
    return found[0]


def _add_control(view: ElementTree.Element, interface: Interface) -> ElementTree.Element:
    attributes = {"name": interface.from_name, "toName": interface.to_name}
    if interface.kind == "choices":
        attributes["choice"] = "multiple" if interface.many else "single"
    return ElementTree.SubElement(view, _CONTROLS[interface.kind][0], attributes)


def _read_controls(xml: str) -> list[Interface]:
    # An interface needs no entities, and nested ones can grow without bounds.
    if "<!" in xml.replace("<!--", ""):
        raise ValueError("a labelling config must not have a DOCTYPE or other declarations")
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(f"the labelling config is not valid XML: {error}") from error
    shown = {
        element.get("name", ""): (media, element.get("value", "").removeprefix("$"))
        for media, tag in _OBJECTS.items()
        for element in root.iter(tag)
    }
    found: list[Interface] = []
    for kind, (tag, label_tag, medias) in _CONTROLS.items():
        for control in root.iter(tag):
            media, key = shown.get(control.get("toName", ""), (None, ""))
            # Results have the alias of a label, where it has one.
            labels = [
                element.get("alias") or element.get("value", "")
                for element in control.iter(label_tag)
            ]
            if media is None or media not in medias or not labels:
                continue
            many = kind == "choices" and control.get("choice", "single") != "single"
            names = control.get("name", ""), control.get("toName", "")
            found.append(Interface(kind, media, tuple(labels), many, *names, key))
    return found
