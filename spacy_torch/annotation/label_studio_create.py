"""A new Label Studio project from a pool: its labelling interface, and its tasks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal, NamedTuple

from spacy_torch.annotation.label_studio_client import Client, ServerGone
from spacy_torch.annotation.label_studio_interface import (
    Interface,
    Kind,
    Media,
    make_interface,
    write_interface,
)
from spacy_torch.annotation.label_studio_tasks import task_to_import
from spacy_torch.annotation.tasks import Task, distinct

Asked = Literal["choices", "spans", "boxes"]
CONTROLS: dict[Asked, Kind] = {"choices": "choices", "spans": "labels", "boxes": "rectanglelabels"}
# How many tasks are sent at a time: pictures go along.
BATCH = 100
_ATTEMPTS = 5

logger = logging.getLogger(__name__)


class Created(NamedTuple):
    """A project.

    Attributes:
        number: for `torch-label-studio`.
        url: of its list of tasks.
        n_tasks: those about the same text or picture count once.
    """

    number: int
    url: str
    n_tasks: int


def create_project(
    client: Client,
    title: str,
    pool: Sequence[Task],
    labels: Sequence[str],
    *,
    asked: Asked = "choices",
    many: bool = False,
) -> Created:
    """Make a project in which people answer what a component learns.

    Args:
        pool: texts or pictures, not both. Pictures are sent with their tasks.
        asked: what people say of each: labels, spans of a text, or boxes in a picture.
        many: any number of labels may be chosen, not just one.

    Raises:
        ConnectionError: the server went away again and again; the message says how far it came.
        PermissionError: the server refuses the token.
        ValueError: there is nothing in the pool, texts and pictures are mixed, the labels are
            none, or the server refuses the title.
    """
    if asked not in CONTROLS:
        raise ValueError(f"what is asked must be one of {list(CONTROLS)}, got {asked!r}")
    interface = make_interface(CONTROLS[asked], labels, media=find_media(pool), many=many)
    tasks = distinct(pool)
    number = client.create_project(title, write_interface(interface))
    for start in range(0, len(tasks), BATCH):
        _import(client, number, tasks[start : start + BATCH], interface, n_before=start)
    return Created(number, f"{client.url}projects/{number}/data", len(tasks))


def find_media(pool: Sequence[Task]) -> Media:
    """What a pool shows.

    Raises:
        ValueError: nothing, or texts and pictures mixed.
    """
    n_images = sum(bool(task.get("image")) for task in pool)
    if not pool or 0 < n_images < len(pool):
        raise ValueError(
            f"a project shows either texts or pictures, but the pool has {len(pool) - n_images} "
            f"texts and {n_images} pictures: make a project for each"
        )
    return "image" if n_images else "text"


def _import(
    client: Client, project: int, tasks: Sequence[Task], interface: Interface, *, n_before: int
) -> None:
    """Add tasks, each once, also to a server that goes away."""
    for _ in range(_ATTEMPTS):
        try:
            client.import_tasks(project, [task_to_import(task, interface) for task in tasks])
            return
        except ServerGone as gone:
            logger.warning("%s: looking what arrived", gone)
            if sum(1 for _ in client.tasks(project)) > n_before:
                return
    raise ConnectionError(
        f"{client.url} went away each of {_ATTEMPTS} times that it was sent tasks for project "
        f"{project}, which has {n_before} now: delete it, and create another one"
    )
