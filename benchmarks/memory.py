"""Peak memory of training the default model with 77 labels and saving it."""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.figures import Figure
from benchmarks.settings import Settings

PEER = "spacy.TextCatEnsemble.v2"
MIB = 2**20


def measure(settings: Settings) -> list[Figure]:
    """Each reading in a new process; ours and the stock component take turns."""
    steps, turns = (3, 1) if settings.quick else (30, 3)
    peaks: dict[str, list[int]] = {"torch_textcat": [], "textcat": []}
    imports: dict[str, list[int]] = {"torch_textcat": [], "textcat": []}
    for _ in range(turns):
        for factory in peaks:
            peaks[factory].append(_probe(factory, steps))
            imports[factory].append(_probe(factory, 0))
    ours, stock = peaks["torch_textcat"], peaks["textcat"]
    net_ours = [a - b for a, b in zip(ours, imports["torch_textcat"], strict=True)]
    net_stock = [a - b for a, b in zip(stock, imports["textcat"], strict=True)]
    details = {
        "MiB": {
            "ours": [value // MIB for value in ours],
            "peer": [value // MIB for value in stock],
            "ours, only imported": [value // MIB for value in imports["torch_textcat"]],
            "peer, only imported": [value // MIB for value in imports["textcat"]],
        },
        "steps": steps,
    }
    return [
        Figure(
            "memory, peak of the process",
            PEER,
            [a / b for a, b in zip(ours, stock, strict=True)],
            aim=0.6,
            better="lower",
            details=details,
        ),
        Figure(
            "memory, peak above the bare imports",
            PEER,
            [a / b for a, b in zip(net_ours, net_stock, strict=True)],
            aim=0.6,
            better="lower",
        ),
    ]


def _probe(factory: str, steps: int) -> int:
    command = [sys.executable, "-m", "benchmarks.memory_probe", factory, str(steps)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])["peak"]
