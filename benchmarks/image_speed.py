"""How soon a classifier of pictures has learned an answer, and how fast it predicts."""

from __future__ import annotations

from time import perf_counter

import numpy
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc

from benchmarks.corpus import batched
from benchmarks.figures import Figure, speed_figure
from benchmarks.image_data import read_signs
from benchmarks.image_learning import FAST, make_examples
from benchmarks.settings import Settings
from benchmarks.timing import take_turns
from spacy_torch.bridge.model import get_shim

ANSWERED = 200
BATCH = 10
BACKBONE = {
    "@architectures": "spacy-torch.ImageClassifier.v1",
    "exclusive_classes": True,
    "grid": 1,
    # What is predicted here is predicted for the first time.
    "cache_mb": 0,
    "encoder": {"@torch_encoders": "spacy-torch.EfficientNetLite.v1"},
}


def measure_update(settings: Settings) -> list[Figure]:
    """Milliseconds of an update with ten new answers, two hundred being there already."""
    folder = settings.data / "sign_digits"
    if not folder.is_dir():
        print(f"   no folder sign_digits in {settings.data} (see --data)", flush=True)
        return []
    task = read_signs(folder)
    nlp = spacy.blank("image")
    component = nlp.add_pipe("torch_image_classifier", config={"model": FAST})
    examples = make_examples(nlp, task.pool, task.labels)
    component.initialize(
        lambda: examples[:BATCH],
        nlp=nlp,
        labels=task.labels,
        pool=[eg.predicted for eg in examples],
    )
    nlp.update(examples[:ANSWERED])
    nlp.update(examples[ANSWERED : ANSWERED + BATCH])
    rest = examples[ANSWERED + BATCH :]
    milliseconds = []
    for batch in batched(rest[:50] if settings.quick else rest, BATCH):
        component.forget([eg.predicted for eg in examples[ANSWERED : ANSWERED + BATCH]])
        start = perf_counter()
        nlp.update(batch)  # pictures that nothing has decoded before
        milliseconds.append(1000 * (perf_counter() - start))
        component.forget([eg.predicted for eg in batch])
    details = {"updates": len(milliseconds), "p50": round(float(numpy.median(milliseconds)), 1)}
    p95 = float(numpy.percentile(milliseconds, 95))
    name = "update with 10 answers at 200, fast part, 95th percentile"
    return [Figure(name, "0.2 s", [p95], 200, "lower", unit="ms", details=details)]


def measure_backbone(settings: Settings) -> list[Figure]:
    """Photographs a second by `nlp.pipe`, against the bare module on prepared tensors."""
    files = sorted((settings.data / "bccd").rglob("*.jpg"))[: 8 if settings.quick else 32]
    if not files:
        print(f"   no photographs in the folder bccd of {settings.data} (see --data)", flush=True)
        return []
    data = [file.read_bytes() for file in files]
    nlp = _build_backbone(data)
    shim = get_shim(nlp.get_pipe("torch_image_classifier").logits_model)
    module = shim.module
    prepared = nlp.get_pipe("torch_image_classifier").logits_model.attrs["featurize"](
        [nlp.make_doc(picture) for picture in data]
    )
    pixels = prepared.read_all()

    def ours(turn: int) -> list[Doc]:
        return list(nlp.pipe(data, batch_size=8))

    @torch.no_grad()
    def bare(turn: int) -> list[torch.Tensor]:
        return [module.output(module.features.features(part)) for part in pixels.split(8)]

    timing = take_turns(ours, bare, turns=3 if settings.quick else 7)
    name = "images a second, EfficientNet-Lite0, photographs of 640 x 480"
    return [speed_figure(name, "the bare module on prepared tensors", timing, aim=0.9)]


def _build_backbone(data: list[bytes]) -> Language:
    nlp = spacy.blank("image")
    component = nlp.add_pipe("torch_image_classifier", config={"model": BACKBONE})
    docs = [nlp.make_doc(picture) for picture in data[:2]]
    for doc, label in zip(docs, ("a", "b"), strict=True):
        doc.cats = {"a": float(label == "a"), "b": float(label == "b")}
    examples = [spacy.training.Example(doc, doc) for doc in docs]
    component.initialize(lambda: examples, nlp=nlp)
    return nlp
