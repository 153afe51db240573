"""A real Label Studio server, and a real browser in which someone labels.

`python -m spacy project run label-studio` installs both and runs these tests, as CI does. They
are not among those of `python -m pytest`, as the server is 1 GB of packages.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPException
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = "Scripts" if sys.platform == "win32" else "bin"
INSTALLED = ROOT / ".venv-label-studio" / SCRIPTS / "label-studio"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Seconds for whatever is waited for, and for the server to start, on a busy computer.
PATIENCE, START = 300, 900
FAILED = pytest.StashKey[bool]()


class Server:
    """Label Studio on this computer, with a user of its own, in a folder of its own."""

    def __init__(self, command, folder):
        self.command = command
        self.folder = folder
        self.log = folder / "server.log"
        self.token = secrets.token_hex(20)
        self.email, self.password = "someone@example.org", secrets.token_hex(8)
        # Held as long as the server is there or away: it takes a minute to start, and its port
        # must be nobody else's. It may bind the port as well, since nobody listens here.
        self._port = socket.socket()
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port.bind(("127.0.0.1", 0))
        self.port = self._port.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = None

    def start(self):
        """Start it, unless it runs, and wait until it answers."""
        if self._process is not None:
            return
        environment = {
            **os.environ,
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.folder),
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "COLLECT_ANALYTICS": "false",
            "LATEST_VERSION_CHECK": "0",
            # So that it may call a backend on this computer.
            "ML_BLOCK_LOCAL_IP": "false",
            "SSRF_PROTECTION_ENABLED": "false",
        }
        arguments = ["start", "--no-browser", "--internal-host", "127.0.0.1"]
        arguments += ["--port", str(self.port), "--username", self.email]
        arguments += ["--password", self.password, "--user-token", self.token]
        with self.log.open("ab") as log:
            # One process, in the group of this one: what ends the tests from outside ends it, too.
            self._process = subprocess.Popen(
                [self.command, *arguments],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        began = time.monotonic()
        while not self._is_up():
            if self._process.poll() is not None:
                pytest.fail(f"Label Studio ended as it started:\n{self.last_lines()}")
            if time.monotonic() - began > START:
                pytest.fail(f"Label Studio did not start in {START} s:\n{self.last_lines()}")
            time.sleep(0.5)  # between two looks
        print(f"Label Studio started in {time.monotonic() - began:.0f} s")

    def stop(self):
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self):
        """Kill it, and give its port up."""
        self.stop()
        self._port.close()

    def last_lines(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-60:])

    def _is_up(self):
        try:
            opener = build_opener(ProxyHandler({}))
            with opener.open(f"{self.url}/health", timeout=30) as response:
                return response.status == 200
        except (HTTPException, OSError):
            return False


@pytest.fixture(scope="session")
def session_server(tmp_path_factory):
    command = Path(os.environ.get("LABEL_STUDIO", INSTALLED))
    if not command.exists():
        pytest.fail(f"there is no {command}: python -m spacy project run label-studio installs it")
    server = Server(command, tmp_path_factory.mktemp("label-studio"))
    ended = signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", 143))
    yield server
    server.close()
    signal.signal(signal.SIGTERM, ended)


@pytest.fixture
def server(session_server):
    session_server.start()  # again, if a test that killed it failed
    return session_server


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    # Nothing but the server is needed; a container has little shared memory.
    flags = [
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--no-proxy-server",
        "--disable-dev-shm-usage",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")  # root has none
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=found, args=flags, timeout=1000 * PATIENCE
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(server, browser, shots, request):
    """A window in which the user is logged in; what a failed test saw last is kept."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(f"{server.url}/user/login/")
    page.fill("input[name=email]", server.email)
    page.fill("input[name=password]", server.password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "login" not in url)
    yield page
    if request.node.stash.get(FAILED, False):
        page.screenshot(path=shots / f"failed-{request.node.name}.png")
    page.close()


@pytest.fixture(scope="session")
def shots():
    """The folder for screenshots; a CI that keeps files names its own."""
    folder = Path(os.environ.get("CI_ARTIFACTS", ROOT / "metrics"), "label-studio")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        item.stash[FAILED] = True
        server = item.funcargs.get("session_server")
        if server is not None:
            report.sections.append(("the server's log", server.last_lines()))
    return report
