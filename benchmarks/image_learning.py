"""What a classifier of pictures knows after each of its first 200 labels, ten at a time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy
import spacy
import torch
from spacy.language import Language
from spacy.training import Example

from benchmarks.corpus import batched
from benchmarks.figures import Figure
from benchmarks.image_data import LabelledPicture, PictureTask, read_fashion, read_signs
from benchmarks.settings import Settings
from spacy_torch.features.pixels import read_pixels

LABELS = 200
BATCH = 10
# How often a learner by gradient sees all that was answered, after each batch of answers.
EPOCHS = 4
# Student's t for a 95% interval of five seeds.
T_OF_FIVE = 2.776

# The default model of `torch_image_classifier`, and its parts.
CNN: dict[str, Any] = {
    "@architectures": "spacy-torch.ImageClassifier.v1",
    "exclusive_classes": True,
    "shift": 0.1,
    "zoom": 0.1,
    "encoder": {"@torch_encoders": "spacy-torch.ImageCNN.v1"},
}
FAST: dict[str, Any] = {
    "@architectures": "spacy-torch.FastImageClassifier.v1",
    "exclusive_classes": True,
    "slow": None,
}
PAIR = {**FAST, "slow": CNN}
PIXELS = "logistic regression on pixels"
CONTESTANTS: dict[str, dict[str, Any] | None] = {
    "pair": PAIR,
    "fast part": FAST,
    "CNN with replay": CNN,
    PIXELS: None,
}

Curves = dict[str, list[list[float]]]


def measure_signs(settings: Settings) -> list[Figure]:
    """Area under the curve of accuracy against labels: the mean over the 20 checkpoints."""
    return _measure(settings, "sign_digits", read_signs)


def measure_fashion(settings: Settings) -> list[Figure]:
    """The same for Fashion-MNIST."""
    return _measure(settings, "fashion_mnist_subset", read_fashion)


def _measure(settings: Settings, name: str, read: Callable[[Path], PictureTask]) -> list[Figure]:
    folder = settings.data / name
    if not folder.is_dir():
        print(f"   no folder {name} in {settings.data} (see --data)", flush=True)
        return []
    task = read(folder)
    seeds, labels = (2, 30) if settings.quick else (5, LABELS)
    return _compare(task, draw_curves(task, seeds=seeds, labels=labels))


def draw_curves(task: PictureTask, *, seeds: int, labels: int) -> Curves:
    """The curve of each contestant for each seed; those of a seed get the same labels."""
    curves: Curves = {name: [] for name in CONTESTANTS}
    for seed in range(seeds):
        pool = list(task.pool)
        random.Random(seed).shuffle(pool)
        for name, model in CONTESTANTS.items():
            if model is None:
                curve = draw_pixels_curve(task, pool[:labels])
            else:
                curve = Learner(model, task, seed=seed).draw_curve(pool[:labels])
            curves[name].append(curve)
            print(f"   {task.name}, seed {seed}, {name}: area {mean(curve):.3f}", flush=True)
    return curves


class Learner:
    """A component that is told labels, and examined after each batch of them."""

    def __init__(self, model: dict[str, Any], task: PictureTask, *, seed: int) -> None:
        torch.manual_seed(seed)
        self.learns_by_gradient = model.get("slow") is not None or "encoder" in model
        self.random = random.Random(seed)
        self.task = task
        self.nlp = spacy.blank("image")
        self.component = self.nlp.add_pipe("torch_image_classifier", config={"model": model})
        sample = make_examples(self.nlp, task.pool[:BATCH], task.labels)
        pool = [self.nlp.make_doc(picture.data) for picture in task.pool]
        self.component.initialize(lambda: sample, nlp=self.nlp, labels=task.labels, pool=pool)
        self.optimizer = self.nlp.create_optimizer()
        self.test = make_examples(self.nlp, task.test, task.labels)

    def draw_curve(self, pictures: Sequence[LabelledPicture]) -> list[float]:
        """Accuracy after each batch of labels."""
        answered: list[Example] = []
        curve = []
        for batch in batched(make_examples(self.nlp, pictures, self.task.labels), BATCH):
            answered += batch
            self.nlp.update(batch, sgd=self.optimizer)
            if self.learns_by_gradient:
                self.replay(answered)
            curve.append(self.measure_accuracy())
        return curve

    def replay(self, answered: Sequence[Example]) -> None:
        """Train on everything that was answered so far."""
        for _ in range(EPOCHS):
            for part in batched(self.random.sample(answered, len(answered)), BATCH):
                self.nlp.update(part, sgd=self.optimizer)

    def measure_accuracy(self) -> float:
        """The share of test pictures whose label has the highest score."""
        docs = self.nlp.pipe((eg.predicted.copy() for eg in self.test), batch_size=100)
        right = [
            eg.reference.cats[max(doc.cats, key=lambda label: doc.cats[label])]
            for eg, doc in zip(self.test, docs, strict=True)
        ]
        return mean(right)


def draw_pixels_curve(task: PictureTask, pictures: Sequence[LabelledPicture]) -> list[float]:
    """Accuracy of scikit-learn's logistic regression on the pixels, fitted anew each time."""
    from sklearn.linear_model import LogisticRegression

    nlp = spacy.blank("image")
    x, y = _flatten(nlp, pictures), [picture.label for picture in pictures]
    test_x, test_y = _flatten(nlp, task.test), [picture.label for picture in task.test]
    # The weights of a ridge-penalized fit are sums of the pictures fitted: turned onto axes
    # through these, it is the same fit with 200 columns instead of 3,072.
    _, _, axes = numpy.linalg.svd(x, full_matrices=False)
    x, test_x = x @ axes.T, test_x @ axes.T
    curve = []
    for n in range(BATCH, len(pictures) + 1, BATCH):
        model = LogisticRegression(max_iter=1000).fit(x[:n], y[:n])
        curve.append(float(model.score(test_x, test_y)))
    return curve


def make_examples(
    nlp: Language, pictures: Sequence[LabelledPicture], labels: Sequence[str]
) -> list[Example]:
    """One example per picture, with 1.0 for its label and 0.0 for every other."""
    return [
        Example.from_dict(
            nlp.make_doc(picture.data),
            {"cats": {label: float(label == picture.label) for label in labels}},
        )
        for picture in pictures
    ]


def _flatten(nlp: Language, pictures: Sequence[LabelledPicture]) -> numpy.ndarray:
    """32 x 32 pixels of each, from 0 to 1: what the fast part reads."""
    pixels, _ = read_pixels([nlp.make_doc(picture.data) for picture in pictures], size=32)
    return pixels.reshape(len(pixels), -1).astype("float32") / 255


def _compare(task: PictureTask, curves: Curves) -> list[Figure]:
    areas = {name: [mean(curve) for curve in found] for name, found in curves.items()}
    middles = {
        name: [mean(column) for column in zip(*found, strict=True)]
        for name, found in curves.items()
    }
    chance = max(
        sum(picture.label == label for picture in task.test) for label in task.labels
    ) / len(task.test)
    worst = [
        min(pair - max(fast, slow) for pair, fast, slow in zip(*parts, strict=True))
        for parts in [[middles[name] for name in ("pair", "fast part", "CNN with replay")]]
    ]
    details = {
        "areas": {name: spread(values) for name, values in areas.items()},
        "mean curves": {
            name: [round(value, 3) for value in curve] for name, curve in middles.items()
        },
        "chance": round(chance, 3),
    }
    name = f"first 200 labels, {task.name}"

    def ratio(to: str) -> list[float]:
        return [ours / theirs for ours, theirs in zip(areas["pair"], areas[to], strict=True)]

    at_20 = [curve[1] / chance for curve in curves["pair"]]
    return [
        Figure(f"{name}: area", "CNN with replay", ratio("CNN with replay"), 1.15, details=details),
        Figure(f"{name}: area", PIXELS, ratio(PIXELS), 1.3),
        Figure(f"{name}: accuracy at 20", "chance", at_20, 2.5),
        Figure(f"{name}: area", "the fast part alone", ratio("fast part"), None),
        Figure(
            f"{name}: pair, at its worst checkpoint",
            "its better half",
            worst,
            -0.02,
            unit="points",
        ),
    ]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, 95% interval of the mean, and the values."""
    half = T_OF_FIVE * stdev(values) / sqrt(len(values)) if len(values) == 5 else None
    return {
        "mean": round(mean(values), 4),
        "interval": None
        if half is None
        else [round(mean(values) - half, 4), round(mean(values) + half, 4)],
        "seeds": [round(value, 4) for value in values],
    }
