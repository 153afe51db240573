"""Programs of Python that are run as a user runs them."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run_python(
    arguments: Sequence[str | Path],
    folder: Path,
    *,
    given: str | None = None,
    seconds: float = 300,
    **environment: str,
) -> str:
    """Run Python in a folder, on what is given to its standard input; what it printed.

    After so many seconds it is ended, and what it has started with it.
    """
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env={
            **os.environ,
            "PYSPARK_PYTHON": sys.executable,
            "RAY_USAGE_STATS_ENABLED": "0",
            **environment,
        },
        cwd=folder,
        stdin=None if given is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(given, timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 0, output + errors
    return output
