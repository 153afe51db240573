"""Object detection from the first pictures on: digits in clutter, and blood cells (BCCD)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from time import perf_counter
from typing import Any, Literal

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import fix_random_seed

from benchmarks.clutter import SIDE, make_scenes
from benchmarks.figures import Figure
from benchmarks.settings import Settings
from spacy_torch.bridge.model import get_shim
from spacy_torch.bridge.torch_optimizers import build_adamw
from spacy_torch.components.boxes_scorer import score_boxes
from spacy_torch.features.boxes import get_boxes, set_boxes
from spacy_torch.training.pascal_voc import build_pascal_voc

FACTORY = "torch_object_detector"
BATCH = 4
HALVES: dict[str, float | None] = {"the pair": None, "fast alone": 0.0, "CNN alone": 1.0}
BCCD_PEER = "published, YOLO with COCO weights: 83 to 95"


@dataclass(frozen=True)
class Task:
    """Pictures to learn from, and how.

    Attributes:
        checkpoints: after how many pictures to look, and how many batches of pictures seen so
            far the CNN has learned by then.
        size: pixels of the side that pictures are read with.
        flips: see the architecture.
    """

    name: str
    pool: Sequence[Example]
    test: Sequence[Example]
    checkpoints: dict[int, int]
    size: int
    flips: Literal["none", "horizontal", "both"]


Curve = dict[str, dict[int, float]]


def measure_clutter(settings: Settings) -> list[Figure]:
    """Digits in clutter: mean AP50 of three labels after 1 to 50 complete pictures."""
    seeds = 1 if settings.quick else 5
    checkpoints = {1: 0, 2: 0, 5: 10, 10: 20, 20: 40, 50: 250}
    if settings.quick:
        checkpoints = {1: 0, 10: 2, 20: 4}
    curves: list[Curve] = []
    seconds: list[float] = []
    vocab = spacy.blank("en").vocab
    for seed in range(seeds):
        pool = make_scenes(100 if settings.quick else 300, seed=seed, is_test=False)
        test = make_scenes(20 if settings.quick else 80, seed=seed, is_test=True)
        examples = ([scene.to_example(vocab) for scene in part] for part in (pool, test))
        task = Task("digits in clutter", *examples, checkpoints, SIDE, "none")
        seconds.append(time_first_box(task))
        curves.append(draw_curve(task, seed=seed))
    first = Figure(
        "seconds until the first detector, from one box",
        "none",
        seconds,
        aim=1.0,
        better="lower",
        unit="s",
    )
    aims = {10: 0.65, 20: 0.80}
    return [*_figures("digits in clutter", curves, aims, peer="CNN alone"), first]


def measure_bccd(settings: Settings) -> list[Figure]:
    """Blood cells: mean AP50 on the test pictures after 1 to all of the training pictures."""
    folder = settings.data / "bccd" / "BCCD"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: see --data")
    nlp = spacy.blank("image")
    limit = 12 if settings.quick else 0
    train, test = (
        list(build_pascal_voc(folder, split, limit=limit)(nlp)) for split in ("train", "test")
    )
    checkpoints = {1: 0, 5: 10, 10: 20, 20: 60, 50: 200, len(train): 500}
    if settings.quick:
        checkpoints = {1: 0, 5: 1, 10: 2}
    curves: list[Curve] = []
    start = perf_counter()
    n_seeds = 1 if settings.quick else 2
    for seed in range(n_seeds):
        curves.append(draw_curve(Task("BCCD", train, test, checkpoints, 320, "both"), seed=seed))
    details = {"minutes a seed": round((perf_counter() - start) / 60 / n_seeds, 1)}
    aims = {10: 0.55, len(train): 0.80}
    return _figures("BCCD", curves, aims, peer=BCCD_PEER, details=details)


def draw_curve(task: Task, *, seed: int) -> Curve:
    """Mean AP50 on the test, of the pair and of each half, at each checkpoint.

    Every picture is answered once, as it would be in annotation; then pictures answered so far
    are drawn at random to be learned again.
    """
    torch.set_num_threads(1)
    fix_random_seed(seed)
    draws = random.Random(seed)
    pool = list(task.pool)
    draws.shuffle(pool)
    nlp = make_pipeline(task, pool)
    total = max(task.checkpoints.values()) + max(task.checkpoints) // BATCH
    optimizer = build_adamw(learn_rate=_rates(total), weight_decay=0.05)
    curve: Curve = {name: {} for name in HALVES}
    n_seen = n_repeats = 0
    for n_pictures, repeats in task.checkpoints.items():
        batches = [
            pool[at : min(at + BATCH, n_pictures)] for at in range(n_seen, n_pictures, BATCH)
        ]
        batches += [draws.choices(pool[:n_pictures], k=BATCH) for _ in range(repeats - n_repeats)]
        for batch in batches:
            nlp.update(batch, sgd=optimizer)
            optimizer.step_schedules()
        n_seen, n_repeats = n_pictures, repeats
        for name, share in HALVES.items():
            if share != 1.0 or repeats:
                curve[name][n_pictures] = score(nlp, task.test, share=share)
        found = {name: round(values.get(n_pictures, 0.0), 3) for name, values in curve.items()}
        print(f"   {task.name}, seed {seed}, {n_pictures} pictures: {found}", flush=True)
    return curve


def make_pipeline(task: Task, pool: Sequence[Example]) -> Language:
    """A detector that has seen the first pictures of the pool, without their boxes."""
    nlp = spacy.blank("en")
    model = {
        "encoder": {"size": task.size},
        "flips": task.flips,
    }
    nlp.add_pipe(FACTORY, config={"model": model, "threshold": 0.01})
    labels = sorted({box.label for example in pool for box in get_boxes(example.reference)})
    nlp.get_pipe(FACTORY).initialize(lambda: pool, nlp=nlp, labels=labels)
    return nlp


def score(nlp: Language, examples: Sequence[Example], *, share: float | None) -> float:
    """Mean AP50; with a share of the CNN other than that which the model trusts, if given."""
    pipe = nlp.get_pipe(FACTORY)
    trusted: torch.Tensor = get_shim(pipe.logits_model).module.evidence.share
    before = trusted.clone()
    if share is not None:
        trusted.fill_(share)
    try:
        fresh = [Example(_bare(eg.predicted), eg.reference) for eg in examples]
        for _ in pipe.pipe((eg.predicted for eg in fresh), batch_size=16):
            pass
    finally:
        trusted.copy_(before)
    return score_boxes(fresh)["box_map50"]


def time_first_box(task: Task) -> float:
    """How long it takes to learn the first box that is answered, of a picture not complete."""
    example = next(eg for eg in task.pool if get_boxes(eg.reference))
    nlp = make_pipeline(task, task.pool)
    reference = example.reference.copy()
    set_boxes(reference, get_boxes(reference)[:1], complete=False)
    pipe = nlp.get_pipe(FACTORY)
    start = perf_counter()
    pipe.learn_at_once([Example(example.predicted, reference)])
    return perf_counter() - start


def _bare(doc: Doc) -> Doc:
    copied = doc.copy()
    copied.user_data = {
        key: value for key, value in doc.user_data.items() if key != "spacy_torch.boxes"
    }
    return copied


def _rates(n_steps: int) -> Any:
    """Up for a twentieth of the steps, then down to a twentieth of the highest."""
    warm_up = max(1, n_steps // 20)
    for step in range(n_steps + 1):
        yield 2e-3 * min((step + 1) / warm_up, 1.05 - step / n_steps)
    while True:
        yield 1e-4


def _figures(
    name: str,
    curves: Sequence[Curve],
    aims: dict[int, float],
    *,
    peer: str,
    details: dict[str, Any] | None = None,
) -> list[Figure]:
    spread = {
        half: {n: _spread([curve[half][n] for curve in curves]) for n in curves[0][half]}
        for half in HALVES
    }
    figures = [
        Figure(
            f"{name}, AP50 after {n} pictures",
            peer,
            [curve["the pair"][n] for curve in curves],
            aim,
            unit="",
            details={"curves": spread, **(details or {})},
        )
        for n, aim in aims.items()
        if n in curves[0]["the pair"]
    ]
    behind = [
        min(
            found - max(curve["fast alone"][n], curve["CNN alone"].get(n, 0.0))
            for n, found in curve["the pair"].items()
        )
        for curve in curves
    ]
    worst = Figure(
        f"{name}, the pair less its better half, worst checkpoint", "itself", behind, -0.02, unit=""
    )
    return [*figures, worst]


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {
        "mean": round(mean(values), 3),
        "deviation": round(stdev(values), 3) if len(values) > 1 else None,
        "seeds": [round(value, 3) for value in values],
    }
