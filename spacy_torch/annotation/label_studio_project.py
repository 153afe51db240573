"""A Label Studio project as the loop sees it: a pool of tasks, answers, and predictions."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from spacy_torch.annotation.label_studio_client import Client, ServerGone
from spacy_torch.annotation.label_studio_interface import read_interface
from spacy_torch.annotation.label_studio_tasks import Result, read_shown
from spacy_torch.annotation.tasks import Task, set_hashes
from spacy_torch.features.picture import Picture
from spacy_torch.features.picture_files import image_format

# How often predictions are sent before it is given up that the server goes away each time.
_ATTEMPTS = 5
# Seconds after which nothing appears that was changed before: of two people who answer at once,
# the first to begin may be the last whose answer is there.
_SETTLED = 60.0

logger = logging.getLogger(__name__)


class Prediction(NamedTuple):
    """What a model says of a task.

    Attributes:
        task: its number in the project.
        result: the choices, spans or boxes, as Label Studio has them.
        score: how sure the model is; the task with the lowest is shown first.
    """

    task: int
    result: list[Result]
    score: float


class Project:
    """The tasks of a project, kept up to date.

    Args:
        client: a connection to the server.
        number: of the project.
        pictures: the folder in which pictures that the server has are kept.
        from_name: the control of the labelling config that is meant, if it has several.

    Attributes:
        interface: what annotators see and answer.
        sources: what is shown, by the number of the task.
        places: the number of the task, by what is shown; of several with the same text or
            image the first one.

    Raises:
        LookupError: there is no such project.
        PermissionError: the server refuses the token.
        ValueError: the labelling config is about something that cannot be learned.
    """

    def __init__(
        self, client: Client, number: int, *, pictures: Path, from_name: str | None = None
    ) -> None:
        self.client = client
        self.number = number
        self.pictures = pictures
        settings = client.project(number)
        self.title = str(settings.get("title", number))
        self.interface = read_interface(str(settings["label_config"]), from_name=from_name)
        self.sources: dict[int, Task] = {}
        self.places: dict[str, int] = {}
        self._left_out: set[int] = set()
        # When it was the latest change that was known, and that change, by the server's clock.
        self._latest: deque[tuple[float, str]] = deque()
        if settings.get("sampling") != "Uncertainty sampling":
            logger.info("project %d asks by uncertainty from now on", number)
            client.change_project(number, sampling="Uncertainty sampling")

    def poll(self) -> list[dict[str, Any]]:
        """The tasks that are new or were changed since the last time, with their annotations.

        What was changed in the minute before comes again. A task without a text or image that
        can be used is left out, and the log says why.
        """
        found: list[dict[str, Any]] = []
        now = time.monotonic()
        while len(self._latest) > 1 and self._latest[1][0] < now - _SETTLED:
            self._latest.popleft()
        since = self._latest[0][1] if self._latest else None
        latest = self._latest[-1][1] if self._latest else ""
        for record in self.client.tasks(self.number, since=since):
            number, changed = int(record["id"]), str(record["updated_at"])
            latest = max(latest, changed)
            if number not in self.sources and not self._add(number, record):
                continue
            found.append(record)
        if latest and (not self._latest or latest != self._latest[-1][1]):
            self._latest.append((now, latest))
        return found

    def send(self, predictions: Iterable[Prediction], *, version: str) -> set[int]:
        """Give the tasks predictions, and have the project ask by those of this version.

        A task that has one of this version already, as before a restart, gets no other.

        Returns:
            The numbers of tasks that are not there any more.

        Raises:
            ConnectionError: the server went away again and again.
        """
        wanted = {prediction.task: prediction for prediction in predictions}
        there: dict[int, bool] = {}
        for _ in range(_ATTEMPTS):
            there = self._find_predicted(wanted, version)
            missing = [wanted[number] for number, has_it in there.items() if not has_it]
            try:
                if missing:
                    records = [{**one._asdict(), "model_version": version} for one in missing]
                    self.client.import_predictions(self.number, records)
                break
            except ServerGone as gone:
                logger.warning("%s: looking what arrived", gone)
            except ValueError:
                if self._find_predicted(wanted, version).keys() == there.keys():
                    raise  # and no task was deleted just now
        else:
            raise ConnectionError(
                f"{self.client.url} went away each of {_ATTEMPTS} times that it was sent "
                f"predictions for {len(wanted)} tasks; no answer is lost"
            )
        if there or not wanted:
            self.client.change_project(self.number, model_version=version)
        return wanted.keys() - there.keys()

    def drop_deleted(self) -> None:
        """Forget the tasks that are not there any more."""
        there = {int(record["id"]) for record in self.client.tasks(self.number)}
        self.sources = {
            number: source for number, source in self.sources.items() if number in there
        }
        self.places = {}
        for number, source in self.sources.items():
            self.places.setdefault(source[self.interface.media], number)

    def _find_predicted(self, tasks: Iterable[int], version: str) -> dict[int, bool]:
        """Of tasks that are there, whether they have a prediction of this version."""
        numbers = list(tasks)
        if not numbers:
            return {}
        return {
            int(record["id"]): any(
                prediction.get("model_version") == version
                for prediction in record.get("predictions") or []
            )
            for record in self.client.tasks(self.number, only=numbers)
        }

    def read_source(self, record: Mapping[str, Any]) -> Task | None:
        """What a task shows; None if it cannot be used, and the log says once why."""
        number = int(record["id"])
        try:
            shown = read_shown(record, self.interface)
            if self.interface.media == "image":
                shown = str(self._keep_picture(shown))
        except (LookupError, OSError, ValueError) as error:
            if isinstance(error, (ConnectionError, PermissionError)):
                raise
            if number not in self._left_out:
                self._left_out.add(number)
                logger.warning("task %d of project %d is left out: %s", number, self.number, error)
            return None
        return set_hashes({self.interface.media: shown})

    def _add(self, number: int, record: Mapping[str, Any]) -> bool:
        source = self.read_source(record)
        if source is None:
            return False
        self.sources[number] = source
        self.places.setdefault(source[self.interface.media], number)
        return True

    def _keep_picture(self, address: str) -> Path:
        """The file of a picture, which is fetched once."""
        name = blake2b(address.encode("utf8"), digest_size=12).hexdigest()
        for path in self.pictures.glob(f"{name}.*"):
            return path
        if address[:5].lower() == "data:":
            content = Picture.from_source(address).read_bytes()
        else:
            content = self.client.download(address)
        self.pictures.mkdir(parents=True, exist_ok=True)
        path = self.pictures / f"{name}.{image_format(content)}"
        partial = path.with_name(f".{path.name}.{threading.get_ident()}")
        partial.write_bytes(content)
        partial.replace(path)
        return path
