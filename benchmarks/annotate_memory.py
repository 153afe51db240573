"""Whether annotating 10,000 documents in one process takes more and more memory."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import torch
from spacy.language import Language

from benchmarks.corpus import batched, read_banking77
from benchmarks.figures import Figure
from benchmarks.pipelines import build_pipeline
from benchmarks.settings import Settings

BLOCK = 250
MIB = 2**20
STATUS = Path("/proc/self/status")

Scores = list[dict[str, float]]


def measure(settings: Settings) -> list[Figure]:
    """Blocks of texts of BANKING77, each in a memory zone of spaCy, with the default model.

    The first pass fills the cache of words, which has a bound; the second shows whether
    anything else grows.
    """
    rows = read_banking77("train")
    names = sorted({row.labels[0] for row in rows})
    nlp, _ = build_pipeline("torch_textcat", sample=rows[:64], names=names)
    texts = [row.text for row in (rows[:2000] if settings.quick else rows)]
    annotate(nlp, texts[:BLOCK])
    before = read_resident() / MIB
    first = read_blocks(nlp, texts)
    second = read_blocks(nlp, texts)
    slope, error = fit_line(second)
    alone = [scores for block in batched(texts, BLOCK) for scores in annotate(nlp, block)]
    return [
        Figure(
            f"annotate_memory, growth over {len(texts):,} documents",
            "-",
            [slope * len(second)],
            aim=1.0,
            better="lower",
            unit="MiB",
            details={"standard error": round(error * len(second), 3), "MiB": _rounded(second)},
        ),
        Figure(
            "annotate_memory, growth before, while the cache of words fills",
            "-",
            [first[-1] - before],
            aim=None,
            better="lower",
            unit="MiB",
            details={"MiB": _rounded(first)},
        ),
        Figure(
            "annotate_memory, documents that differ with 8 threads of torch",
            "1 thread",
            [count_different(alone, annotate_with_torch_threads(nlp, texts, n_threads=8))],
            aim=0,
            better="lower",
            unit="documents",
        ),
        Figure(
            "annotate_memory, documents that differ in 8 threads that share the pipeline",
            "1 thread",
            [count_different(alone, annotate_in_threads(nlp, texts, n_threads=8))],
            aim=0,
            better="lower",
            unit="documents",
        ),
    ]


def annotate(nlp: Language, texts: Sequence[str]) -> Scores:
    """The scores of some texts; the words that only they have are forgotten afterwards."""
    with nlp.memory_zone():
        return [dict(doc.cats) for doc in nlp.pipe(texts, batch_size=BLOCK)]


def read_blocks(nlp: Language, texts: Sequence[str]) -> list[float]:
    """The memory after each block, in MiB."""
    readings: list[float] = []
    for block in batched(texts, BLOCK):
        annotate(nlp, block)
        readings.append(read_resident() / MIB)
    return readings


def annotate_with_torch_threads(nlp: Language, texts: Sequence[str], *, n_threads: int) -> Scores:
    """The same, every operation of torch shared out to so many threads."""
    torch.set_num_threads(n_threads)
    try:
        return [scores for block in batched(texts, BLOCK) for scores in annotate(nlp, block)]
    finally:
        torch.set_num_threads(1)


def annotate_in_threads(nlp: Language, texts: Sequence[str], *, n_threads: int) -> Scores:
    """The same, the blocks shared out to so many threads of Python. They share the vocabulary."""

    def score(block: Sequence[str]) -> Scores:
        return [dict(doc.cats) for doc in nlp.pipe(block, batch_size=BLOCK)]

    with ThreadPoolExecutor(n_threads) as pool:
        return [scores for block in pool.map(score, batched(texts, BLOCK)) for scores in block]


def count_different(some: Scores, others: Scores) -> int:
    """How many documents have another label first, or a score that is off by more than 1e-5."""
    return sum(not _alike(one, other) for one, other in zip(some, others, strict=True))


def fit_line(readings: Sequence[float]) -> tuple[float, float]:
    """The growth from one reading to the next, and its standard error."""
    steps = numpy.arange(len(readings)) - (len(readings) - 1) / 2
    values = numpy.array(readings) - numpy.mean(readings)
    slope = float(steps @ values / (steps @ steps))
    rest = values - slope * steps
    variance = rest @ rest / max(len(readings) - 2, 1)
    return slope, float(numpy.sqrt(variance / (steps @ steps)))


def read_resident() -> int:
    """The memory of this process that is in use now, in bytes."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{STATUS} has no line VmRSS: this row needs Linux")


def _alike(one: dict[str, float], other: dict[str, float]) -> bool:
    first = max(one, key=one.__getitem__) == max(other, key=other.__getitem__)
    return first and all(abs(one[label] - other[label]) < 1e-5 for label in one)


def _rounded(readings: Sequence[float]) -> list[float]:
    return [round(reading, 1) for reading in readings]
