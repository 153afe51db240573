"""As much of a Label Studio server as the loop uses, which can be told to fail."""

import json
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TOKEN = "0123456789abcdef"
REFRESH = "header.payload.signature"


class FakeLabelStudio:
    """A server in a thread, with one project, number 1.

    Attributes:
        failures: what happens to the next requests: "before" closes the connection and does
            nothing, "after" does it and closes the connection, a number is a status; None is
            a request that succeeds. Given as (method, failure) pairs, for requests of it.
        requests: methods and paths, in the order in which they came.
    """

    def __init__(self, label_config, *, port=0):
        self.project = {"id": 1, "title": "Fake", "label_config": label_config, "sampling": "S"}
        self.tasks = {}
        self.predictions = []
        self.failures = []
        self.requests = []
        self.bodies = []
        self.files = {}
        self.access = 0
        self._time = datetime(2026, 1, 1, tzinfo=timezone.utc)
        self._lock = threading.Lock()
        self.start(port)

    def start(self, port=0):
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def handle_all(self):
                fake.handle(self)

            do_GET = do_POST = do_PATCH = handle_all

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.stop()

    def now(self):
        self._time += timedelta(microseconds=1)
        return self._time.isoformat().replace("+00:00", "Z")

    def add(self, *shown, key="text"):
        for value in shown:
            number = len(self.tasks) + 1
            record = {"id": number, "data": {key: value}, "annotations": []}
            self.tasks[number] = {**record, "updated_at": self.now()}

    def annotate(self, number, *result, **more):
        ids = [one["id"] for task in self.tasks.values() for one in task["annotations"]]
        now = self.now()
        annotation = {"id": max(ids, default=0) + 1, "result": list(result), "updated_at": now}
        self.tasks[number]["annotations"].append({**annotation, "was_cancelled": False, **more})
        self.tasks[number]["updated_at"] = now

    def change(self, number, annotations):
        now = self.now()
        self.tasks[number]["annotations"] = [{**one, "updated_at": now} for one in annotations]
        self.tasks[number]["updated_at"] = now

    def next_task(self):
        """The number of the task that an annotator is shown, or None."""
        version = self.project.get("model_version")
        scores = {
            one["task"]: one["score"]
            for one in self.predictions
            if one["model_version"] == version and not self.tasks[one["task"]]["annotations"]
        }
        return min(scores, key=scores.get, default=None)

    def handle(self, request):
        size = int(request.headers.get("Content-Length", 0))
        body = json.loads(request.rfile.read(size)) if size else None
        with self._lock:
            self.requests.append((request.command, urlsplit(request.path).path))
            self.bodies.append(body)
            failure = None
            if self.failures and self.failures[0][0] in (request.command, "*"):
                failure = self.failures.pop(0)[1]
            if failure == "before":
                return
            if isinstance(failure, int):
                status, answer = failure, {"detail": f"told to fail: {request.headers}"}
            else:
                status, answer = self._answer(request, body)
            if failure == "after":
                return
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        request.send_response(status)
        if status == 302:
            request.send_header("Location", self.files["location"])
        request.end_headers()
        request.wfile.write(content)

    def _answer(self, request, body):
        parts = urlsplit(request.path)
        if parts.path == "/api/token/refresh/":
            if body != {"refresh": REFRESH}:
                return 401, {"detail": "Token is invalid"}
            self.access += 1
            return 200, {"access": f"access-{self.access}"}
        known = (f"Token {TOKEN}", f"Bearer access-{self.access}")
        if request.headers.get("Authorization") not in known:
            return 401, {"detail": "Invalid token."}
        where = request.command, parts.path
        if where == ("GET", "/api/projects/1/"):
            return 200, self.project
        if where == ("POST", "/api/projects/"):
            self.project |= body
            return 201, self.project
        if where == ("PATCH", "/api/projects/1/"):
            versions = {one["model_version"] for one in self.predictions}
            if body.get("model_version", None) not in {None, *versions}:
                return 400, {"validation_errors": {"model_version": ["does not exist"]}}
            self.project |= body
            return 200, self.project
        if where == ("POST", "/api/projects/1/import"):
            for task in body:
                ((key, value),) = task["data"].items()
                self.add(value, key=key)
            return 201, {"task_count": len(body)}
        if where == ("POST", "/api/projects/1/import/predictions"):
            if any(one["task"] not in self.tasks for one in body):
                return 400, {"validation_errors": {"task": ["couldn't be retrieved"]}}
            self.predictions += body
            return 201, {"created": len(body)}
        if where == ("GET", "/api/projects/1/next/"):
            number = self.next_task()
            return (404, {"detail": "none"}) if number is None else (200, self.tasks[number])
        if where == ("GET", "/api/tasks"):
            found = self._find_tasks(parse_qs(parts.query))
            if not found and parse_qs(parts.query)["page"] != ["1"]:
                return 404, {"detail": "Invalid page."}
            return 200, {"tasks": found}
        if parts.path in self.files:
            return self.files[parts.path]
        return 404, {"detail": "Not found."}

    def _find_tasks(self, parameters):
        query = json.loads(parameters["query"][0])
        found = sorted(self.tasks.values(), key=lambda task: task["id"])
        if "selectedItems" in query:
            found = [task for task in found if task["id"] in query["selectedItems"]["included"]]
        for item in query.get("filters", {}).get("items", []):
            assert (item["filter"], item["operator"]) == (
                "filter:tasks:updated_at",
                "greater_or_equal",
            )
            found = [task for task in found if task["updated_at"] >= item["value"]]
        size = int(parameters["page_size"][0])
        start = (int(parameters["page"][0]) - 1) * size
        return [
            {**task, "predictions": [one for one in self.predictions if one["task"] == task["id"]]}
            for task in found[start : start + size]
        ]
