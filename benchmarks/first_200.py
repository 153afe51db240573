"""What a classifier knows after each of its first 200 examples, ten at a time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from benchmarks.corpus import batched, keep_frequent, make_examples, read_banking77, read_sst2
from benchmarks.figures import Figure
from benchmarks.pipelines import OUR_BOW, OUR_CNN, STOCK_BOW, build_pipeline, measure_accuracy
from benchmarks.settings import Settings
from spacy_torch.training.labelled_text import LabelledText

ANNOTATIONS = 200
BATCH = 10
PEER = "spacy.TextCatEnsemble.v2"

Contestant = tuple[str, "dict[str, Any] | None"]

OURS: dict[str, Contestant] = {
    "spacy-torch.TextCatEnsemble.v1": ("torch_textcat", None),
    "spacy-torch.TextCatBOW.v1": ("torch_textcat", OUR_BOW),
    "spacy-torch.TextCat.v1, CNN alone": ("torch_textcat", OUR_CNN),
}
STOCK: dict[str, Contestant] = {
    PEER: ("textcat", None),
    "spacy.TextCatBOW.v3": ("textcat", STOCK_BOW),
}


@dataclass(frozen=True)
class Task:
    """Texts to learn from, in no order, and texts to be examined on."""

    name: str
    pool: Sequence[LabelledText]
    test: Sequence[LabelledText]

    @property
    def labels(self) -> list[str]:
        """All labels."""
        return sorted({text.labels[0] for text in self.test})

    @property
    def chance(self) -> float:
        """The accuracy of always naming the label that the test has most of."""
        return max(Counter(text.labels[0] for text in self.test).values()) / len(self.test)


def measure(settings: Settings) -> list[Figure]:
    """Area under the curve of accuracy against examples: the mean over the 20 checkpoints."""
    return [
        figure for task in _read_tasks(settings) for figure in _contest(task, quick=settings.quick)
    ]


def draw_curve(contestant: Contestant, task: Task, *, seed: int, annotations: int) -> list[float]:
    """Accuracy after each batch of ten, every batch learned from once."""
    factory, model = contestant
    pool = list(task.pool)
    random.Random(seed).shuffle(pool)  # the same order for every contestant
    pool = pool[:annotations]
    nlp, optimizer = build_pipeline(
        factory, model, sample=pool[:BATCH], names=task.labels, seed=seed
    )
    test = make_examples(nlp, task.test, task.labels)
    curve = []
    for batch in batched(make_examples(nlp, pool, task.labels), BATCH):
        nlp.update(batch, sgd=optimizer)
        curve.append(measure_accuracy(nlp, test))
    return curve


def _read_tasks(settings: Settings) -> list[Task]:
    train, test = read_banking77("train"), read_banking77("test")
    names = keep_frequent(train, 10)
    tasks = [
        Task(
            "BANKING77, 10 intents",
            [text for text in train if text.labels[0] in names],
            [text for text in test if text.labels[0] in names],
        )
    ]
    if (settings.data / "sst2").is_dir():
        pool = read_sst2(settings.data, "train")
        tasks.append(Task("SST-2", pool, read_sst2(settings.data, "test")[:500]))
    else:
        print(f"   no folder sst2 in {settings.data}: SST-2 is left out (see --data)", flush=True)
    return tasks


def _contest(task: Task, *, quick: bool) -> list[Figure]:
    seeds, annotations = (2, 30) if quick else (5, ANNOTATIONS)
    curves: dict[str, list[list[float]]] = {name: [] for name in {**STOCK, **OURS}}
    for seed in range(seeds):
        for name, contestant in {**STOCK, **OURS}.items():
            curve = draw_curve(contestant, task, seed=seed, annotations=annotations)
            curves[name].append(curve)
            print(f"   {task.name}, seed {seed}, {name}: area {mean(curve):.3f}", flush=True)
    areas = {name: [mean(curve) for curve in found] for name, found in curves.items()}
    return [_figure(name, task, areas, curves) for name in [*OURS, "spacy.TextCatBOW.v3"]]


def _figure(
    name: str, task: Task, areas: dict[str, list[float]], curves: dict[str, list[list[float]]]
) -> Figure:
    ours, peer = areas[name], areas[PEER]
    above_ours, above_peer = mean(ours) - task.chance, mean(peer) - task.chance
    details = {
        "area": _spread(ours),
        "area of the peer": _spread(peer),
        "chance": round(task.chance, 3),
        "area above chance": round(above_ours, 3),
        "area above chance of the peer": round(above_peer, 3),
        # A peer that knows no more than chance has no ratio worth the name.
        "ratio above chance": round(above_ours / above_peer, 2) if above_peer > 0.01 else None,
        "mean curve": [round(mean(column), 3) for column in zip(*curves[name], strict=True)],
        "mean curve of the peer": [
            round(mean(column), 3) for column in zip(*curves[PEER], strict=True)
        ],
    }
    return Figure(
        f"first_200, {task.name}, {name.removeprefix('spacy-torch.')}",
        PEER,
        [a / b for a, b in zip(ours, peer, strict=True)],
        aim=1.6 if name == "spacy-torch.TextCatEnsemble.v1" else None,
        details=details,
    )


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {
        "mean": round(mean(values), 4),
        "deviation": round(stdev(values), 4) if len(values) > 1 else None,
        "seeds": [round(value, 4) for value in values],
    }
