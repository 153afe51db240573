"""A virtual environment for a peer whose requirements are older than ours."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.settings import ROOT


class NoPeerError(RuntimeError):
    """The environment could not be made; the message says why."""


def make_environment(name: str, packages: Sequence[str]) -> Path:
    """The Python of an environment with these packages, made under `metrics/` once.

    Everything else is borrowed from the environment that runs this, torch above all: the
    peer runs on the very same build.

    Raises:
        NoPeerError: the packages cannot be installed.
    """
    folder = ROOT / "metrics" / f"environment-{name}"
    python = folder / "bin" / "python"
    done = folder / "installed.txt"
    wanted = "\n".join(packages)
    if done.exists() and done.read_text(encoding="utf-8") == wanted:
        return python
    print(f"   installing {', '.join(packages)} into {folder}", flush=True)
    venv.create(folder, clear=True, with_pip=False, symlinks=True)
    (library,) = folder.glob("lib/python*/site-packages")
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (library / "borrowed.pth").write_text("\n".join(borrowed), encoding="utf-8")
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed", *packages]
    result = subprocess.run([python, *install], capture_output=True, text=True, check=False)
    if result.returncode:
        raise NoPeerError(f"pip could not install {', '.join(packages)}: {result.stderr[-500:]}")
    done.write_text(wanted, encoding="utf-8")
    return python
