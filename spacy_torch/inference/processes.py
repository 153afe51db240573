"""Annotate a file of texts with processes of this machine, into numbered `.spacy` files."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from spacy_torch.bridge.atomic import replacing
from spacy_torch.inference.annotator import Annotator, errors_path
from spacy_torch.inference.parts import find_parts, part_path

# So often may workers die without having finished a part in between.
PATIENCE = 4
JOB = "job.json"

Read = Callable[[Path], Iterable[dict[str, Any]]]


class Progress(NamedTuple):
    """How far it is.

    Attributes:
        n_parts: files that are there, those of an earlier run among them.
        n_all: how many there will be.
        n_deaths: workers that died and were replaced.
    """

    n_parts: int
    n_all: int
    n_deaths: int


def annotate_file(
    path: Path,
    folder: Path,
    annotator: Annotator,
    *,
    read: Read,
    workers: int = 2,
    part_size: int = 1000,
) -> Iterator[Progress]:
    """Annotate all records of a file; says how far it is whenever a part is there.

    Parts that are there already are not made again, so that the same call goes on with what
    was stopped. A worker that dies is replaced; its part was not yet there, and is made again.

    Args:
        path: the file.
        folder: where the parts go.
        annotator: what annotates.
        read: gives the records of the file, the same ones each time; a module-level function,
            as it is sent to the workers.
        workers: how many processes.
        part_size: how many documents a part has.

    Raises:
        OSError: the pipeline is not there.
        ValueError: the folder has parts of another file, another pipeline or another size.
        RuntimeError: a worker met an error that is not a document's, or workers were killed
            again and again.
    """
    if workers < 1 or part_size < 1:
        raise ValueError(f"workers and part_size must be at least 1, got {workers}, {part_size}")
    annotator.check_place()
    n_parts = -(-sum(1 for _ in read(path)) // part_size)
    folder.mkdir(parents=True, exist_ok=True)
    _check_job(folder, _describe_job(path, annotator, part_size))
    work = functools.partial(
        _work, path, folder, annotator, read=read, part_size=part_size, step=workers
    )
    # Not forked: threads and devices of this process are none of theirs.
    context = multiprocessing.get_context("spawn")
    running: dict[int, BaseProcess] = {}
    deaths = in_a_row = 0
    n_done = len(find_parts(folder))
    yield Progress(n_done, n_parts, deaths)
    waiting = list(range(min(workers, n_parts)))
    try:
        while waiting or running:
            for first in waiting:
                process = context.Process(target=work, args=(first,), daemon=True)
                process.start()
                running[first] = process
            waiting = []
            wait([process.sentinel for process in running.values()], timeout=0.2)
            n_now = len(find_parts(folder))
            if n_now > n_done:
                n_done, in_a_row = n_now, 0
                yield Progress(n_done, n_parts, deaths)
            for first, process in list(running.items()):
                if process.exitcode is None:
                    continue
                del running[first]
                if process.exitcode == 0:
                    continue
                deaths, in_a_row = deaths + 1, in_a_row + 1
                # Another worker would only repeat an error; a signal came from outside.
                if in_a_row >= PATIENCE or (process.exitcode or 0) > 0:
                    raise RuntimeError(_say_why(folder, n_parts, process.exitcode, in_a_row))
                waiting.append(first)
    finally:
        for process in running.values():
            process.terminate()
            process.join()
    yield Progress(len(find_parts(folder)), n_parts, deaths)


def count_errors(folder: Path) -> int:
    """How many records of all parts could not be annotated."""
    files = [errors_path(part) for part in find_parts(folder)]
    return sum(len(f.read_bytes().splitlines()) for f in files if f.exists())


def _work(
    path: Path,
    folder: Path,
    annotator: Annotator,
    first: int,
    *,
    read: Read,
    part_size: int,
    step: int,
) -> None:
    """Make every `step`-th part from the first on, while the process that asked for it lives."""
    asking = multiprocessing.parent_process()
    records = iter(read(path))
    for number in itertools.count():
        part = list(itertools.islice(records, part_size))
        # One that is killed ends nobody else.
        if not part or (asking is not None and not asking.is_alive()):
            return
        target = part_path(folder, number)
        if number % step == first and not target.exists():
            annotator.write(part, target)


def _describe_job(path: Path, annotator: Annotator, part_size: int) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return {
        "texts": digest.hexdigest(),
        "pipeline": _describe_pipeline(annotator),
        "text": annotator.text,
        "disable": list(annotator.disable),
        "part_size": part_size,
    }


def _describe_pipeline(annotator: Annotator) -> str:
    """Its name, or a digest of what is in its folder."""
    folder = Path(annotator.pipeline)
    if not folder.is_dir():
        return str(annotator.pipeline)
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(folder)).encode("utf-8"))
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _check_job(folder: Path, job: dict[str, Any]) -> None:
    file = folder / JOB
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        differ = [name for name in job if before.get(name) != job[name]]
        if differ:
            raise ValueError(
                f"{folder} has parts that were made with other settings ({', '.join(differ)}), "
                "with which new ones would be mixed: name another folder, or delete it"
            )
    elif find_parts(folder):
        raise ValueError(
            f"{folder} has parts of which nothing is known, as {JOB} is missing: name another "
            "folder, or delete it"
        )
    with replacing(file) as opened:
        opened.write(json.dumps(job, indent=2).encode("utf-8"))


def _say_why(folder: Path, n_parts: int, exitcode: int | None, n_deaths: int) -> str:
    missing = [n for n in range(n_parts) if not part_path(folder, n).exists()]
    which = f"{len(missing)} of {n_parts} parts are missing, the first is {missing[:1]}"
    goes_on = "The same call goes on with the parts that are there"
    if (exitcode or 0) > 0:
        return f"a worker ended with the error above; {which}. {goes_on}"
    return (
        f"{n_deaths} workers were killed (the last by signal {-(exitcode or 0)}) without a part "
        f"being finished; {which}. There may be too little memory for so many. {goes_on}"
    )
