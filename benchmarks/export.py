"""Exported pipelines against the originals: words per second and accuracy, taggers on EWT."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch, registry

from benchmarks.figures import Figure, speed_figure
from benchmarks.hf_transformer import find_minilm
from benchmarks.hf_worker import Sentence, read_conllu
from benchmarks.settings import Settings
from benchmarks.timing import take_turns
from spacy_torch.architectures.exported import Format
from spacy_torch.export.pipeline import export_pipeline

PREDICT_BATCH = 128


def measure_minilm(settings: Settings) -> list[Figure]:
    """A tagger on all-MiniLM-L6-v2, all of it trained."""
    encoder = {
        "@torch_encoders": "spacy-torch.HFTransformer.v1",
        "name": find_minilm(),
        "width": 384,
    }
    return _measure(
        settings,
        "export_minilm",
        encoder,
        aims={"int8": 1.8, "onnx": None},
        steps=8 if settings.quick else 200,
        learn_rate=1e-4,
        test_words=2_000 if settings.quick else 10_000,
    )


def measure_hash_embed_cnn(settings: Settings) -> list[Figure]:
    """A tagger on a convolutional encoder of spaCy's usual size."""
    return _measure(
        settings,
        "export_hash_embed_cnn",
        {"@torch_encoders": "spacy-torch.HashEmbedCNN.v1"},
        aims={"int8": 1.3, "onnx": None},
        steps=50 if settings.quick else 1_500,
        learn_rate=1e-3,
        test_words=5_000 if settings.quick else None,
    )


def _measure(
    settings: Settings,
    row: str,
    encoder: dict[str, Any],
    *,
    aims: dict[Format, float | None],
    steps: int,
    learn_rate: float,
    test_words: int | None,
) -> list[Figure]:
    torch.set_num_threads(1)
    treebank = settings.data / "ud_english_ewt"
    if not treebank.exists():
        raise SystemExit(f"{treebank} is missing: --data names the folder of data sets")
    nlp = _train(encoder, treebank, steps=steps, learn_rate=learn_rate)
    sample = [_doc(nlp, row) for row in read_conllu(treebank / "en_ewt-ud-dev.conllu", 200)]
    test = _first_words(read_conllu(treebank / "en_ewt-ud-test.conllu", 10_000), test_words)
    n_words = sum(len(words) for words, _, _ in test)
    docs = [_doc(nlp, row) for row in test]
    before = _score(nlp, test)
    figures: list[Figure] = []
    for format, aim in aims.items():
        report = export_pipeline(nlp, format, texts=sample)
        (part,) = report.parts
        if part.kept is not None:
            raise RuntimeError(f"{row}, {format}: {part.kept}")
        timing = take_turns(
            partial(_predict, report.nlp, docs),
            partial(_predict, nlp, docs),
            turns=2 if settings.quick else 5,
        )
        seconds = timing.medians()
        details = {
            "words per second": {side: round(n_words / seconds[side]) for side in seconds},
            "largest difference": part.difference,
            "largest output": part.largest,
            "megabytes": [round(n_bytes / 1e6, 1) for n_bytes in part.n_bytes],
            "words": n_words,
        }
        name = f"{row}, {format}, predict"
        figures.append(
            speed_figure(name, "float32, the same pipeline", timing, aim=aim, details=details)
        )
        after = _score(report.nlp, test)
        figures.append(
            Figure(
                f"{row}, {format}, tag accuracy lost",
                "float32, the same pipeline",
                [100 * (before - after)],
                0.3,
                better="lower",
                unit="points",
                details={"before": round(before, 5), "after": round(after, 5)},
            )
        )
    return figures


def _train(encoder: dict[str, Any], treebank: Path, *, steps: int, learn_rate: float) -> Language:
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": encoder}
    nlp.add_pipe("torch_tagger", config={"model": model})
    examples = [
        Example.from_dict(_doc(nlp, row), {"words": row[0], "tags": row[2]})
        for row in read_conllu(treebank / "en_ewt-ud-train.conllu", 10_000)
    ]
    nlp.initialize(lambda: examples)
    adam = {"@optimizers": "Adam.v1", "learn_rate": learn_rate}
    optimizer = registry.resolve({"optimizer": adam})["optimizer"]
    order = random.Random(0)
    for _ in range(steps):
        nlp.update(order.sample(examples, 16), sgd=optimizer, drop=0.1)
    return nlp


def _predict(nlp: Language, docs: Sequence[Doc], turn: int) -> None:
    """What the component computes, without making documents and writing tags on them."""
    tagger: Any = nlp.get_pipe("torch_tagger")
    for batch in minibatch(docs, PREDICT_BATCH):
        tagger.predict(batch)


def _score(nlp: Language, sentences: Sequence[Sentence]) -> float:
    docs = nlp.pipe((_doc(nlp, row) for row in sentences), batch_size=PREDICT_BATCH)
    right = total = 0
    for doc, (_, _, tags) in zip(docs, sentences, strict=True):
        right += sum(token.tag_ == tag for token, tag in zip(doc, tags, strict=True))
        total += len(tags)
    return right / total


def _doc(nlp: Language, sentence: Sentence) -> Doc:
    words, spaces, _ = sentence
    return Doc(nlp.vocab, words=words, spaces=spaces)


def _first_words(sentences: list[Sentence], n_words: int | None) -> list[Sentence]:
    if n_words is None:
        return sentences
    kept: list[Sentence] = []
    for sentence in sentences:
        if sum(len(words) for words, _, _ in kept) >= n_words:
            break
        kept.append(sentence)
    return kept
