"""An ML backend for Label Studio: the server asks for predictions and tells of annotations.

The push loop of `label_studio` needs none of this. A backend predicts also for tasks that a
person opens out of turn; the server must be allowed to reach it.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from spacy_torch.annotation.label_studio import LabelStudioLoop

# A task may carry a picture.
_MAX_BYTES = 64 * 2**20
_LEARNED = frozenset({"ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"})

logger = logging.getLogger(__name__)


class Backend:
    """Answers Label Studio's requests, in threads of its own.

    Whoever can reach it can teach the model: it listens to this computer only, unless told
    otherwise. Requests that a web page in a browser could send are refused.

    Args:
        loop: the project and the learner. Its `step` need not be called.
        host: the address to listen at.
        port: 0 for any that is free.

    Attributes:
        url: to be given to Label Studio, under Settings, Model.
    """

    def __init__(self, loop: LabelStudioLoop, *, host: str = "127.0.0.1", port: int = 9090) -> None:
        self.loop = loop
        backend = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                backend.handle(self, None)

            def do_POST(self) -> None:
                backend.handle(self, backend.read_body(self))

            def log_message(self, format: str, *args: Any) -> None:
                logger.debug(format, *args)

        self._server = ThreadingHTTPServer((host, port), Handler)
        self.url = f"http://{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def read_body(self, request: BaseHTTPRequestHandler) -> Any:
        """The JSON of a request; None if there is none that can be used."""
        try:
            size = int(request.headers.get("Content-Length", 0))
            is_json = request.headers.get_content_type() == "application/json"
            if not 0 < size <= _MAX_BYTES or not is_json or "Origin" in request.headers:
                return None
            return json.loads(request.rfile.read(size))
        except ValueError:
            return None

    def handle(self, request: BaseHTTPRequestHandler, body: Any) -> None:
        """Answer one request."""
        path = request.path.partition("?")[0].rstrip("/")
        status, answer = 200, {}
        if request.command == "GET":
            status, answer = (200, {"status": "UP"}) if path in ("", "/health") else (404, {})
        elif not isinstance(body, Mapping):
            status, answer = 400, {"detail": "expected a JSON object"}
        elif path == "/setup":
            answer = {"model_version": self._version}
        elif path == "/predict":
            status, answer = self._try(self._predict, body)
        elif path == "/webhook":
            status, answer = self._try(self._learn, body)
        else:
            status = 404
        content = json.dumps(answer).encode("utf8")
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _try(self, act: Any, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        try:
            return 200, act(body)
        except (LookupError, OSError, TypeError, ValueError) as error:
            logger.warning("a request of Label Studio cannot be answered: %s", error)
            return 400, {"detail": str(error)}

    @property
    def _version(self) -> str:
        learner = self.loop.learner
        return f"{learner.questions.name}-{len(learner.journal)}"

    def _predict(self, body: Mapping[str, Any]) -> dict[str, Any]:
        found = self.loop.predict(body["tasks"])
        # A task that cannot be used gets an empty prediction, of which the model is sure.
        results = [
            {"result": one.result, "score": one.score, "model_version": self._version}
            if one is not None
            else {"result": [], "score": 1.0, "model_version": self._version}
            for one in found
        ]
        return {"results": results}

    def _learn(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if body.get("action") in _LEARNED:
            # What a webhook says anyone can say: the annotation is fetched from the server.
            self.loop.learn()
        return {}
