"""Words per second of an `Annotator` on two actors of Ray Data, and in one process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from spacy.tokens import Doc
from spacy.vocab import Vocab

from benchmarks import annotate_pipeline
from benchmarks.annotate_pipeline import count_words, read_texts, save_tagger
from benchmarks.figures import Figure
from benchmarks.settings import ROOT, Settings
from spacy_torch import Annotator
from spacy_torch.inference.ray_data import annotate_dataset

PEER = "1 process"


def measure(settings: Settings) -> list[Figure]:
    """Both turn the same texts into bytes of Docs; one thread in each process."""
    import ray
    from ray.data import DataContext

    texts = read_texts(settings, quick=600)
    records = [{"id": number, "text": text} for number, text in enumerate(texts)]
    turns = 1 if settings.quick else 5
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}},
    )
    DataContext.get_current().enable_progress_bars = False
    working: dict[str, list[float]] = {"ours": [], "peer": []}
    whole: dict[str, list[float]] = {"ours": [], "peer": []}
    with tempfile.TemporaryDirectory() as folder:
        annotator = Annotator(save_tagger(Path(folder)), code=annotate_pipeline.__file__)
        annotator.load()
        dataset = ray.data.from_items(records, override_num_blocks=len(records) // 250)
        programs = {
            "ours": lambda: annotate_dataset(dataset, annotator, workers=2).take_all(),
            "peer": lambda: annotator(records),
        }
        answers: dict[str, list[dict[str, Any]]] = {}
        for _ in range(turns):
            for name, program in programs.items():
                start = perf_counter()
                answers[name] = program()
                whole[name].append(perf_counter() - start)
                working[name].append(_seconds_at_work(answers[name]))
    ray.shutdown()
    words = count_words(texts)
    details = {
        "words a second": {name: round(words / median(spent)) for name, spent in working.items()},
        "words": words,
        "cores": os.cpu_count(),
    }
    different = _tags(answers["ours"]) != _tags(answers["peer"])
    return [
        Figure(
            "annotate_ray, 2 actors, words a second",
            PEER,
            [p / o for o, p in zip(working["ours"], working["peer"], strict=True)],
            aim=1.7,
            details={**details, "tags differ": different},
        ),
        Figure(
            "annotate_ray, 2 actors, with their start and the loading",
            f"{PEER}, loaded",
            [p / o for o, p in zip(whole["ours"], whole["peer"], strict=True)],
            aim=None,
            details={"seconds": {name: round(median(spent), 2) for name, spent in whole.items()}},
        ),
    ]


def _seconds_at_work(rows: Iterable[dict[str, Any]]) -> float:
    """From when the first document came into a pipeline until the last one was ready."""
    times = [doc.user_data for doc in map(_read, rows)]
    return max(t["ended"] for t in times) - min(t["began"] for t in times)


def _tags(rows: list[dict[str, Any]]) -> list[list[str]]:
    ordered = sorted(rows, key=lambda row: row["id"])
    return [[token.tag_ for token in _read(row)] for row in ordered]


def _read(row: dict[str, Any]) -> Doc:
    return Doc(Vocab()).from_bytes(row["doc"])
