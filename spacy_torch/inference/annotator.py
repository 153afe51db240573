"""A pipeline that each worker loads once, and what it makes of texts."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import spacy
import srsly
import torch
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.util import is_package, minibatch, raise_error

from spacy_torch.bridge.atomic import replacing, replacing_together

logger = logging.getLogger(__name__)

Record = Mapping[str, Any]
Row = dict[str, Any]
Result = TypeVar("Result")


class Written(NamedTuple):
    """What `Annotator.write` wrote.

    Attributes:
        path: the file.
        n_docs: how many documents are in it.
        n_errors: how many could not be annotated; they are in the file of errors beside it.
    """

    path: Path
    n_docs: int
    n_errors: int


@dataclass(frozen=True)
class Annotator:
    """Annotates texts with a pipeline, on one worker or on many.

    It holds the pipeline's place, not the pipeline: send it to workers of any engine, and each
    process loads the pipeline once, when it first needs it. Each block of documents is
    annotated in a memory zone of spaCy, so that memory stays flat however many there are.

    A text is a str, a `Doc.to_bytes()`, or a record with one of them under a key (`text`, or
    "doc" for bytes); whatever else a record has (an id, a date) is kept. One that cannot be
    annotated does not take the others with it: what went wrong is said in its place.

    Args:
        pipeline: a folder, or the name of an installed package. A relative folder is looked up
            here, not where the workers run.
        text: the key of a record's text.
        batch_size: how many documents are annotated at a time.
        threads: of torch, in each process; None leaves them as they are. Workers that together
            have as many as there are cores do not wait for each other.
        disable: names of components that are loaded and not run.
        code: a Python file that each worker runs before it loads the pipeline, as
            `spacy train --code` does.
    """

    pipeline: str | Path
    text: str = "text"
    batch_size: int = 256
    threads: int | None = 1
    disable: tuple[str, ...] = ()
    code: str | Path | None = None
    # Copies in the same process share what is loaded; one made later, when the folder may have
    # another pipeline, loads that.
    token: str = field(default_factory=lambda: uuid.uuid4().hex, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.pipeline, (str, Path)):
            raise TypeError(
                "pipeline must be a folder or the name of a package, which each worker loads, got "
                f"a {type(self.pipeline).__name__}: save it with nlp.to_disk(folder)"
            )
        if not is_package(str(self.pipeline)):
            object.__setattr__(self, "pipeline", _absolute(self.pipeline))
        if self.code is not None:
            object.__setattr__(self, "code", _absolute(self.code))
        for name in ("batch_size", "threads"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        if isinstance(self.disable, str):
            raise TypeError(f"disable must be a list of names, got {self.disable!r}")
        object.__setattr__(self, "disable", tuple(self.disable))

    def __call__(self, texts: Iterable[str | bytes | Record]) -> list[Row]:
        """The rows of all texts, in order: see `stream`."""
        return list(self.stream(texts))

    def stream(self, texts: Iterable[str | bytes | Record]) -> Iterator[Row]:
        """For each text its record with "doc", the `Doc.to_bytes()`, and "error", which is None.

        Where a document could not be annotated, "doc" is None and "error" says why. The record
        of a text that came alone has only the text.
        """
        for block in minibatch(self._as_records(texts), self.batch_size):
            # Nothing of spaCy's leaves the zone.
            with self._working() as loaded:
                results = loaded.attempt(block, _to_bytes, text=self.text)
            for record, result in zip(block, results, strict=True):
                failed = isinstance(result, Failure)
                yield {
                    **record,
                    "doc": None if failed else result,
                    "error": result.error if failed else None,
                }

    def write(self, texts: Iterable[str | bytes | Record], path: str | Path) -> Written:
        """Annotate into a `DocBin` file, which is there in the end as a whole or not at all.

        What else a record has is in `doc.user_data["record"]` of its document. Records that
        could not be annotated are written, with an "error", into a file beside it that ends in
        `.errors.jsonl`; without errors there is none.

        Args:
            texts: as for `stream`.
            path: of the `.spacy` file; its folder is made, and an older file replaced.
        """
        path = Path(path)
        docs, errors = DocBin(store_user_data=True), list[Row]()
        for block in minibatch(self._as_records(texts), self.batch_size):
            with self._working() as loaded:
                pack = functools.partial(_to_bin, leave_out=(self.text, "doc", "error"))
                for record, result in zip(
                    block, loaded.attempt(block, pack, text=self.text), strict=True
                ):
                    if isinstance(result, Failure):
                        errors.append({**record, "error": result.error})
                    else:
                        docs.merge(result)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = errors_path(path)
        with replacing_together():
            if errors:
                with replacing(beside) as file:
                    for row in errors:
                        line = srsly.json_dumps({k: _as_json(v) for k, v in row.items()})
                        file.write(line.encode("utf-8") + b"\n")
            with replacing(path) as file:
                file.write(docs.to_bytes())
        if not errors:
            beside.unlink(missing_ok=True)
        return Written(path, len(docs), len(errors))

    def check_place(self) -> None:
        """Look whether this machine has the pipeline, without loading it.

        Raises:
            OSError: it has neither a folder nor a package of this name.
        """
        if not is_package(str(self.pipeline)) and not os.path.isdir(self.pipeline):
            raise OSError(
                f"{str(self.pipeline)!r} is neither a folder nor an installed pipeline: name the "
                "folder that nlp.to_disk or spacy train wrote"
            )

    def load(self) -> Language:
        """The pipeline, as this process has loaded it.

        Raises:
            OSError: it is not there; the error names the machine.
        """
        return self._load().nlp

    @contextmanager
    def _working(self) -> Generator[_Loaded, None, None]:
        loaded = self._load()
        # One at a time: a memory zone is the whole vocabulary's.
        with loaded.lock, _torch_threads(self.threads), loaded.nlp.memory_zone():
            yield loaded

    def _load(self) -> _Loaded:
        with _loading:
            return _load(self)

    def _as_records(self, texts: Iterable[str | bytes | Record]) -> Iterator[Record]:
        if isinstance(texts, (str, bytes, Mapping)):
            raise TypeError(
                f"expected texts or records, got a single {type(texts).__name__}: put it into "
                "a list"
            )
        for text in texts:
            if isinstance(text, str):
                yield {self.text: text}
            elif isinstance(text, bytes):
                yield {"doc": text}
            elif isinstance(text, Mapping):
                yield text
            else:
                raise TypeError(
                    "expected a str, the bytes of a Doc, or a record (a mapping) with one of "
                    f"them, got a {type(text).__name__}"
                )


class Failure(NamedTuple):
    """Stands in the place of a document that could not be annotated."""

    error: str


def errors_path(path: Path) -> Path:
    """Where the records go that could not be annotated into a `.spacy` file."""
    return path.with_suffix(".errors.jsonl")


class _Loaded:
    """A pipeline in this process."""

    def __init__(self, nlp: Language) -> None:
        self.nlp = nlp
        self.lock = threading.Lock()
        self.has_failed = False

    def attempt(
        self, records: Sequence[Record], finish: Callable[[Record, Doc], Result], *, text: str
    ) -> list[Result | Failure]:
        """What `finish` makes of each document, all at once or, after an error, half by half.

        So one bad document costs some repetitions, of which there are at most the logarithm of
        the batch, whatever the components do with an error.
        """
        try:
            # Made anew each time, as a component may have annotated some before another failed.
            docs = [_make_doc(self.nlp, record, text=text) for record in records]
            found = list(self.nlp.pipe(docs, batch_size=len(docs)))
            if len(found) != len(docs):
                raise RuntimeError(f"the pipeline gave back {len(found)} of {len(docs)} documents")
            return [finish(*pair) for pair in zip(records, found, strict=True)]
        except Exception as error:
            if len(records) == 1:
                return [self._note(records[0], f"{type(error).__name__}: {error}", text=text)]
        half = len(records) // 2
        return [
            *self.attempt(records[:half], finish, text=text),
            *self.attempt(records[half:], finish, text=text),
        ]

    def _note(self, record: Record, error: str, *, text: str) -> Failure:
        if not self.has_failed:
            which = f"id {record['id']!r}" if "id" in record else f"text {record.get(text)!r:.80}"
            logger.warning(
                "The document with the %s could not be annotated: %s. Its row has no doc and says "
                "so under 'error'; this is logged once for each worker",
                which,
                error,
            )
            self.has_failed = True
        return Failure(error)


_loading = threading.Lock()


# Two, so that someone may compare two pipelines; a worker that lives on from job to job must not
# keep them all.
@functools.lru_cache(maxsize=2)
def _load(annotator: Annotator) -> _Loaded:
    try:
        if annotator.code is not None:
            _run_code(str(annotator.code), os.stat(annotator.code).st_mtime_ns)
        nlp = spacy.load(annotator.pipeline, disable=annotator.disable)
    except OSError as error:
        raise OSError(
            f"cannot load {annotator.pipeline!r} on {socket.gethostname()}, process "
            f"{os.getpid()}: {error}. Each worker needs the folder under this path (on a disk "
            "that all share, or sent along with the job), or the package installed"
        ) from error
    # A handler that drops documents would hide which one it was.
    nlp.set_error_handler(raise_error)
    return _Loaded(nlp)


@functools.cache
def _run_code(path: str, changed: int) -> None:
    """Run a file once in this process, and again only after it has changed.

    spaCy's own `import_file` leaves no module behind, without which it cannot see that a
    component is registered again from the same file, and refuses that.
    """
    name = f"annotator_code_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"code must be a Python file (.py), got {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _absolute(path: str | Path) -> str:
    return os.path.abspath(path) if os.path.exists(path) else str(path)


def _make_doc(nlp: Language, record: Record, *, text: str) -> Doc:
    data, given = record.get("doc"), record.get(text)
    if isinstance(data, (bytes, bytearray)):
        return Doc(nlp.vocab).from_bytes(bytes(data))
    if isinstance(given, str):
        return nlp.make_doc(given)
    raise TypeError(
        f"a record needs a str under {text!r} or the bytes of a Doc under 'doc', got {given!r} and "
        f"{data!r}, with the keys {list(record)}"
    )


def _to_bytes(record: Record, doc: Doc) -> bytes:
    return doc.to_bytes()


def _to_bin(record: Record, doc: Doc, *, leave_out: Sequence[str]) -> DocBin:
    rest = {key: value for key, value in record.items() if key not in leave_out}
    if rest:
        doc.user_data["record"] = rest
    return DocBin(docs=[doc], store_user_data=True)


def _as_json(value: object) -> object:
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


@contextmanager
def _torch_threads(number: int | None) -> Generator[None, None, None]:
    before = torch.get_num_threads()
    if number is None or number == before:
        yield
        return
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
