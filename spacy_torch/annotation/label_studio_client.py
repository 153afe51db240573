"""The few requests to a Label Studio server that the loop needs, by the standard library."""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

TOKEN_VARIABLE = "LABEL_STUDIO_TOKEN"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# What a server, or the proxy before it, says while it restarts or has too much to do.
_BUSY = (429, 502, 503, 504)
# What it says when it fails: once and again if its database is locked, as SQLite is while others
# write, and always if it has a fault. It is asked again for so many seconds.
_FAILED, _UNTIL_FAULTY = 500, 60.0

logger = logging.getLogger(__name__)


class ServerGone(ConnectionError):
    """The server did not answer, and it is not known whether it did what it was asked."""


class Client:
    """A connection to a server, as the user whose token it has.

    The token is sent to this server only, and is in no message, log or file.

    Args:
        url: of the server, such as http://localhost:8080.
        token: a personal access token or a legacy one, from "Account & Settings"; by default
            the environment variable LABEL_STUDIO_TOKEN.
        patience: seconds for which a server that has gone away is asked again.
        timeout: seconds for which one answer is waited for.

    Raises:
        ValueError: the address is none, or there is no token, or none that could be one.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        patience: float = 3600.0,
        timeout: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                "the address of Label Studio must look like http://localhost:8080, got "
                f"{_without_user(url)!r}"
            )
        if parts.username or parts.password:
            raise ValueError(
                "the address of Label Studio must not have a user or a password in it: give the "
                f"token by the environment variable {TOKEN_VARIABLE}"
            )
        self.url = url.rstrip("/") + "/"
        self.patience = patience
        self.timeout = timeout
        self._token = _check_token(token if token is not None else os.environ.get(TOKEN_VARIABLE))
        self._access: str | None = None
        self._sleep = sleep
        handlers: list[Any] = [_NoRedirect()]
        if parts.hostname in _LOOPBACK:
            handlers.append(ProxyHandler({}))
        self._opener: OpenerDirector = build_opener(*handlers)

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    # What the loop asks ------------------------------------------------------------------

    def project(self, project: int) -> dict[str, Any]:
        """The settings of a project.

        Raises:
            LookupError: there is no such project.
        """
        return self._ask("GET", f"api/projects/{project}/", what=f"project {project}")

    def create_project(self, title: str, label_config: str) -> int:
        """Make a project whose questions come in the order of the scores of predictions."""
        settings = {
            "title": title,
            "label_config": label_config,
            "sampling": "Uncertainty sampling",
        }
        return int(self._ask("POST", "api/projects/", settings, what="projects")["id"])

    def change_project(self, project: int, **settings: Any) -> None:
        """Change settings of a project."""
        self._ask("PATCH", f"api/projects/{project}/", settings, what=f"project {project}")

    def import_tasks(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Add tasks to a project.

        Raises:
            ServerGone: there was no answer; they may be there. To add them again could double
                them: look first.
        """
        path = f"api/projects/{project}/import"
        self._ask("POST", path, list(tasks), what=f"project {project}", once=True)

    def tasks(
        self, project: int, *, since: str | None = None, only: Sequence[int] | None = None
    ) -> Iterator[dict[str, Any]]:
        """The tasks of a project with annotations and predictions, in the order of their numbers.

        Args:
            since: those only that were changed at this time, by the server's clock, or later.
            only: the numbers of those that are wanted.
        """
        query: dict[str, Any] = {"ordering": ["tasks:id"]}
        if only is not None:
            query["selectedItems"] = {"all": False, "included": list(only)}
        if since is not None:
            changed = {
                "filter": "filter:tasks:updated_at",
                "operator": "greater_or_equal",
                "type": "Datetime",
                "value": since,
            }
            query["filters"] = {"conjunction": "and", "items": [changed]}
        page = 1
        while True:
            parameters = {
                "project": project,
                "fields": "all",
                "page": page,
                "page_size": 100,
                "query": json.dumps(query),
            }
            path = f"api/tasks?{urlencode(parameters)}"
            try:
                tasks = self._ask("GET", path, what=f"project {project}")["tasks"]
            except LookupError:
                if page == 1:
                    raise
                return  # the page before was the last one, and full
            yield from tasks
            if len(tasks) < 100:
                return
            page += 1

    def import_predictions(self, project: int, predictions: Sequence[Mapping[str, Any]]) -> None:
        """Add predictions to tasks.

        Raises:
            ServerGone: there was no answer; they may be there, or a part of them. To send
                them again could double them: look first.
        """
        path = f"api/projects/{project}/import/predictions"
        self._ask("POST", path, list(predictions), what=f"project {project}", once=True)

    def next_task(self, project: int) -> dict[str, Any] | None:
        """The task that the user would be shown next; None if there is none left."""
        try:
            return self._ask("GET", f"api/projects/{project}/next/", what="next task")
        except LookupError:
            return None

    def download(self, address: str) -> bytes:
        """A file that the server has, such as an uploaded picture.

        Raises:
            ValueError: the address leads to another server: the token must not go there.
        """
        url = urljoin(self.url, address)
        if urlsplit(url)[:2] != urlsplit(self.url)[:2]:
            raise ValueError(
                f"{address}: nothing is fetched from another server than {self.url}; upload the "
                "picture to the project, or let the server serve it"
            )
        return self._send("GET", url, None, what=f"the file {address}", once=False)

    # How it is asked ---------------------------------------------------------------------

    def _ask(
        self, method: str, path: str, body: Any = None, *, what: str, once: bool = False
    ) -> Any:
        url = urljoin(self.url, path)
        data = None if body is None else json.dumps(body).encode("utf8")
        answer = self._send(method, url, data, what=what, once=once)
        try:
            return json.loads(answer) if answer else None
        except ValueError as error:
            raise ValueError(
                f"{self.url} did not answer as Label Studio does, but with {answer[:60]!r}: check "
                "the address"
            ) from error

    def _send(self, method: str, url: str, data: bytes | None, *, what: str, once: bool) -> bytes:
        """Send a request until there is an answer.

        Args:
            once: not again if the server may have acted on it.
        """
        began = time.monotonic()
        deadline = began + self.patience
        pause, is_renewed = 0.5, False
        while True:
            status = 0
            try:
                return self._send_once(method, url, data)
            except HTTPError as error:
                with error:
                    status, text = error.code, error.read(2000).decode("utf8", "replace")
                    target = _without_query(error.headers.get("Location", ""))
                if status == 401 and self._access is not None and not is_renewed:
                    self._access, is_renewed = None, True  # they are good for minutes only
                    continue
                if 300 <= status < 400:
                    raise ValueError(
                        f"{self.url} redirects to {target}: give the address of the server itself, "
                        "as the browser shows it"
                    ) from None
                is_faulty = status == _FAILED and time.monotonic() + pause > began + _UNTIL_FAULTY
                if is_faulty or status not in (*_BUSY, _FAILED):
                    raise self._explain(status, text, what=what) from None
                failure = f"it answered {status}"
                # It may have failed after it did a part, or a proxy has lost sight of it.
                is_unsure = status in (_FAILED, 502, 504)
            except (URLError, HTTPException, OSError) as error:
                reason = getattr(error, "reason", error)
                failure = f"{type(reason).__name__}: {reason}"
                is_unsure = not isinstance(reason, ConnectionRefusedError)
            if once and is_unsure:
                if status == _FAILED:  # it is there, and would be looked at at once
                    self._sleep(pause)
                raise ServerGone(f"{self.url} went away ({failure})")
            if time.monotonic() + pause > deadline:
                raise ConnectionError(
                    f"{self.url} did not answer for {self.patience:g} s ({failure}). No answer of "
                    "yours is lost: start the server, and then this again"
                )
            if pause == 0.5:
                logger.warning(
                    "%s does not answer (%s): asking again for %.0f minutes; is it started, and is "
                    "this its address?",
                    self.url,
                    failure,
                    self.patience / 60,
                )
            self._sleep(pause * random.uniform(0.8, 1.2))
            pause = min(2 * pause, 30.0)

    def _send_once(self, method: str, url: str, data: bytes | None) -> bytes:
        headers = {"Authorization": self._authorization(), "Accept": "application/json, */*"}
        return self._open(method, url, data, headers)

    def _open(self, method: str, url: str, data: bytes | None, headers: dict[str, str]) -> bytes:
        if data is not None:
            headers = {**headers, "Content-Type": "application/json"}
        request = Request(url, data=data, headers=headers, method=method)
        with self._opener.open(request, timeout=self.timeout) as response:
            return response.read()

    def _authorization(self) -> str:
        if self._token.count(".") != 2:
            return f"Token {self._token}"
        # A personal access token, for which the server gives others that are soon worthless.
        if self._access is None:
            data = json.dumps({"refresh": self._token}).encode("utf8")
            url = urljoin(self.url, "api/token/refresh/")
            self._access = str(json.loads(self._open("POST", url, data, {}))["access"])
        return f"Bearer {self._access}"

    def _explain(self, status: int, text: str, *, what: str) -> Exception:
        detail = _read_detail(text)
        for secret in filter(None, (self._token, self._access)):
            detail = detail.replace(secret, "...")
        if status == 401:
            return PermissionError(
                f"{self.url} refuses the token ({detail}): copy one from Account & Settings of "
                f"Label Studio into the environment variable {TOKEN_VARIABLE}; if it is a legacy "
                "token, the organization must allow these"
            )
        if status == 403:
            return PermissionError(f"{self.url} does not allow this user {what} ({detail})")
        if status == 404:
            return LookupError(f"{self.url} has no {what} for this user ({detail})")
        return ValueError(f"{self.url} refused a request about {what}: {status}, {detail}")


class _NoRedirect(HTTPRedirectHandler):
    """Follows nothing: the request would take the token along, be it to another server."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        return None


def _check_token(token: str | None) -> str:
    token = (token or "").strip()
    if not token:
        raise ValueError(
            f"there is no token for Label Studio: set the environment variable {TOKEN_VARIABLE} to "
            "one from Account & Settings of Label Studio"
        )
    # The standard library would show what it cannot send.
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(
            "the token for Label Studio has spaces or characters that no token has: copy it again "
            "from Account & Settings"
        )
    return token


def _read_detail(text: str) -> str:
    try:
        answer = json.loads(text)
    except ValueError:
        if text.lstrip().startswith("<"):  # a page for people
            return "no reason given; the log of the server may have one"
        return " ".join(text.split())[:200] or "no reason given"
    detail = answer.get("detail", answer) if isinstance(answer, dict) else answer
    errors = answer.get("validation_errors") if isinstance(answer, dict) else None
    return f"{detail}{f' {errors}' if errors else ''}"[:500]


def _without_user(url: str) -> str:
    return url.rpartition("@")[2]


def _without_query(url: str) -> str:
    return url.partition("?")[0]
