"""Kill trainings by force at random moments, resume them, and compare what they end with.

Every run is a process of its own, forked from this one, killed with SIGKILL in the middle of a
step or of writing a checkpoint, and then resumed. It must end with the files of the run that was
not disturbed, byte for byte: `model-best` and `model-last`.

python scripts/kill_and_resume.py config.cfg training/kills --kills 20 --checkpoint-steps 10
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from spacy.cli._util import parse_config_overrides
from spacy.training import loop

from spacy_torch.training import checkpoint, run_state
from spacy_torch.training.train import train

# What a checkpoint does to the disk.
OPERATIONS: list[tuple[Any, str]] = [
    (os, "fsync"),
    (os, "replace"),
    (os, "link"),
    (Path, "rename"),
    (Path, "mkdir"),
    (shutil, "rmtree"),
]


def main() -> None:
    """Read the command line, run, write and print what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("output", type=Path, help="directory for all runs, emptied first")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--checkpoint-steps", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, help="JSON file for the outcome")
    args, overrides = parser.parse_known_args()
    torch.set_num_threads(1)  # of the parent, too: a fork keeps no threads
    settings = {
        "overrides": parse_config_overrides(overrides),
        "steps": args.checkpoint_steps,
    }
    shutil.rmtree(args.output, ignore_errors=True)
    args.output.mkdir(parents=True)
    whole = args.output / "whole"
    counts = _fork(args.output, _count, args.config, whole, settings)
    expected = _digest(whole)
    draw = random.Random(args.seed)
    runs = []
    for number in range(args.kills):
        # Two in three in a step, the others in writing.
        kind = "write" if number % 3 == 2 else "update"
        moment = draw.randrange(args.checkpoint_steps if kind == "update" else 0, counts[kind])
        cut = args.output / f"cut-{number}"
        _fork(args.output, _die, args.config, cut, settings, kind, moment, is_killed=True)
        _fork(args.output, _run, args.config, cut, {**settings, "resume": True})
        is_same = _digest(cut) == expected
        runs.append({"killed in": kind, "number": moment, "same": is_same})
        print(f"killed in {kind} {moment} of {counts[kind]}: {'same' if is_same else 'DIFFERENT'}")
        shutil.rmtree(cut)
    n_same = sum(run["same"] for run in runs)
    print(f"{n_same} of {len(runs)} runs ended as the undisturbed one")
    if args.report is not None:
        args.report.parent.mkdir(parents=True, exist_ok=True)
        args.report.write_text(json.dumps({"same": n_same, "counts": counts, "runs": runs}))
    if n_same < len(runs):
        raise SystemExit(1)


def _run(config: Path, output: Path, settings: dict[str, Any]) -> None:
    train(config, output, **settings)


def _count(config: Path, output: Path, settings: dict[str, Any]) -> dict[str, int]:
    """Run undisturbed, and count the moments that a run can be killed in."""
    counts = {"update": 0, "write": 0}

    def count(kind: str) -> None:
        counts[kind] += 1

    with _moments(count):
        train(config, output, **settings)
    return counts


def _die(config: Path, output: Path, settings: dict[str, Any], kind: str, moment: int) -> None:
    """Run until the moment of this number, and be killed there."""
    left = moment

    def count(now: str) -> None:
        nonlocal left
        if now == kind:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    with _moments(count):
        train(config, output, **settings)


@contextmanager
def _moments(count: Callable[[str], None]) -> Iterator[None]:
    """While open, `count` hears of every update, and of all that checkpoints do to the disk."""
    is_writing = False

    def counted(real: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if kind == "update" or is_writing:
                count(kind)
            return real(*args, **kwargs)

        return call

    write = checkpoint.write_checkpoint

    def write_counted(*args: Any, **kwargs: Any) -> None:
        nonlocal is_writing
        is_writing = True
        write(*args, **kwargs)
        is_writing = False

    before = [(owner, name, getattr(owner, name)) for owner, name in OPERATIONS]
    divide = loop.subdivide_batch
    for owner, name, real in before:
        setattr(owner, name, counted(real, "write"))
    loop.subdivide_batch = counted(divide, "update")
    run_state.write_checkpoint = write_counted
    try:
        yield
    finally:
        for owner, name, real in before:
            setattr(owner, name, real)
        loop.subdivide_batch = divide
        run_state.write_checkpoint = write


def _fork(output: Path, function: Callable[..., Any], *args: Any, is_killed: bool = False) -> Any:
    """Call a function in a fork and give what it returns, JSON."""
    answer, log = output / "answer.json", output / "log.txt"
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with open(log, "w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
                answer.write_text(json.dumps(function(*args)))
                sys.stdout.flush()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != (-signal.SIGKILL if is_killed else 0):
        raise SystemExit(f"{function.__name__} ended with {code}:\n{log.read_text()[-3000:]}")
    return None if is_killed else json.loads(answer.read_text())


def _digest(output: Path) -> str:
    found = hashlib.sha256()
    for name in ("model-best", "model-last"):
        for file in sorted((output / name).rglob("*")):
            if file.is_file():
                found.update(f"{file.relative_to(output)} {file.stat().st_size} ".encode())
                found.update(file.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    main()
