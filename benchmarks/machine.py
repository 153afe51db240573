"""The machine that a row is measured on, held to one thread."""

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("spacy", "thinc", "torch", "numpy", "spacy-torch")
# Read when numpy, torch and blis are loaded, so they must be in the environment of a new process.
THREAD_SETTINGS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def one_thread_environment() -> dict[str, str]:
    """This process's environment with one thread for every kernel, and no GPU.

    spaCy's own components would stay on the CPU where ours take a GPU that torch sees.
    """
    settings = dict.fromkeys(THREAD_SETTINGS, "1")
    return {**os.environ, **settings, "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"}


def machine_facts() -> dict[str, Any]:
    """What a reader must know to compare with another machine, and how busy it is just now."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": 1,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    fields: dict[str, str] = {}
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    if "model name" not in fields:
        return platform.processor() or platform.machine()
    model = f"{fields['model name']} @ {fields.get('cpu MHz', '?')} MHz"
    if "model" in fields:
        model += f" (family {fields.get('cpu family')}, model {fields['model']})"
    return model
