"""A real Label Studio server, and a real browser in which someone labels.

`python -m spacy project run label-studio` installs the server and runs these tests. They are
not among those of `python -m pytest`, as the server is 1 GB of packages.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = "Scripts" if sys.platform == "win32" else "bin"
INSTALLED = ROOT / ".venv-label-studio" / SCRIPTS / "label-studio"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Server:
    """Label Studio on this computer, with a user of its own, in a folder of its own."""

    def __init__(self, command, folder):
        self.command = command
        self.folder = folder
        self.token = secrets.token_hex(20)
        self.email, self.password = "someone@example.org", secrets.token_hex(8)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
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
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.command, *arguments],
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        began = time.monotonic()
        while not self._is_up():
            assert self._process.poll() is None, f"it ended: {self.folder / 'server.log'}"
            assert time.monotonic() - began < 600, "the server did not start in ten minutes"
            time.sleep(0.5)
        print(f"Label Studio started in {time.monotonic() - began:.0f} s")

    def stop(self):
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _is_up(self):
        try:
            opener = build_opener(ProxyHandler({}))
            with opener.open(f"{self.url}/health", timeout=5) as response:
                return response.status == 200
        except (URLError, OSError):
            return False


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    command = Path(os.environ.get("LABEL_STUDIO", INSTALLED))
    if not command.exists():
        pytest.fail(f"there is no {command}: python -m spacy project run label-studio installs it")
    server = Server(command, tmp_path_factory.mktemp("label-studio"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    # A browser in a container, as root, has no sandbox.
    flags = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def page(server, browser):
    """A window in which the user is logged in."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(120_000)
    page.goto(f"{server.url}/user/login/")
    page.fill("input[name=email]", server.email)
    page.fill("input[name=password]", server.password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "login" not in url)
    yield page
    page.close()


@pytest.fixture(scope="session")
def shots():
    """The folder for screenshots, which CI keeps."""
    folder = ROOT / "metrics" / "label-studio"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
