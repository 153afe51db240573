"""Boxes by questions: what a detector learns from yes and no, and what drawing would have cost."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import spacy
import torch
from spacy.training import Example

from benchmarks.clutter import SIDE, make_scenes
from benchmarks.figures import Figure
from benchmarks.settings import Settings
from spacy_torch.annotation.active import Settings as LoopSettings
from spacy_torch.annotation.box_questions import Place
from spacy_torch.annotation.box_subject import count_drawn
from spacy_torch.annotation.gold import Gold, GoldData
from spacy_torch.annotation.simulation import Contestant, Protocol, Run, simulate
from spacy_torch.annotation.strategies import build_labels_in_turn, build_random
from spacy_torch.annotation.tasks import set_hashes
from spacy_torch.features.boxes import get_boxes
from spacy_torch.features.image_docs import get_picture
from spacy_torch.training.pascal_voc import build_pascal_voc

TARGET = 0.7
# Seconds that an answer takes. To say whether a box is right: Papadopoulos et al. 2016. To draw
# one: by clicking on four points of the object (Papadopoulos et al. 2017), and dragged as usual,
# without looking at its quality (Su et al. 2012).
YES_OR_NO = 1.6
DRAWING = {"clicking": 7.0, "dragging": 25.5}
WAYS = {"binary": "yes or no", "correct": "yes, no or corrected", "manual": "all drawn"}

# Of the sessions of one way, for each seed: the scores, and the questions answered and boxes drawn
# until then.
Points = list[tuple[float, int, int]]


def measure_clutter(settings: Settings) -> list[Figure]:
    """Digits in clutter: three labels, three seeds."""
    curves: dict[str, list[Points]] = {way: [] for way in WAYS}
    n_pool, n_test = (30, 10) if settings.quick else (200, 60)
    for seed in range(1 if settings.quick else 3):
        parts = [
            make_scenes(n, seed=seed, is_test=is_test)
            for n, is_test in ((n_pool, False), (n_test, True))
        ]
        vocab = spacy.blank("en").vocab
        pool, test = ([scene.to_example(vocab) for scene in part] for part in parts)
        answers = {"binary": 63, "correct": 43, "manual": 14}
        _play(curves, pool, test, _model(SIDE, "none"), answers, settings, seed=seed)
    return _figures("digits in clutter", curves)


def measure_bccd(settings: Settings) -> list[Figure]:
    """Blood cells: three labels, one seed."""
    folder = settings.data / "bccd" / "BCCD"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is missing: see --data")
    limit = 12 if settings.quick else 0
    nlp = spacy.blank("image")
    pool, test = (
        list(build_pascal_voc(folder, split, limit=limit)(nlp)) for split in ("train", "test")
    )
    curves: dict[str, list[Points]] = {way: [] for way in WAYS}
    answers = {"binary": 63, "correct": 43, "manual": 8}
    _play(curves, pool, test, _model(320, "both"), answers, settings, seed=0)
    return _figures("BCCD", curves)


def _play(
    curves: dict[str, list[Points]],
    pool: Sequence[Example],
    test: Sequence[Example],
    config: Mapping[str, Any],
    answers: Mapping[str, int],
    settings: Settings,
    *,
    seed: int,
) -> None:
    """One session in each way, from the same pictures."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = _write(pool, test, Path(folder), seed=seed)
        for kind, way in WAYS.items():
            is_drawn = kind == "manual"
            # Whoever draws all boxes takes the pictures as they come.
            batch = 1 if is_drawn else 10
            loop = LoopSettings(batch=batch, window=1 if is_drawn else 40, epsilon=0.0, epochs=0)
            n_answers = 2 * batch if settings.quick else answers[kind]
            protocol = Protocol(answers=n_answers, seeds=1, kind=kind, settings=loop)
            strategy = build_random() if is_drawn else build_labels_in_turn()
            (run,) = simulate(data, [Contestant(way, config, strategy)], protocol).runs
            curves[kind].append(_read(run, data))
            shown = [(n, drawn, round(score, 2)) for score, n, drawn in curves[kind][-1]]
            print(f"   seed {seed}, {way}: {shown}", flush=True)


def _write(
    pool: Sequence[Example], test: Sequence[Example], folder: Path, *, seed: int
) -> GoldData:
    golds: list[list[Gold]] = []
    for number, part in enumerate((pool, test)):
        golds.append([])
        for place, example in enumerate(part):
            path = folder / f"{number}-{place}.png"
            get_picture(example.predicted).open().save(path)
            places = [
                Place(box.label, *(round(float(side), 2) for side in box[1:5]))
                for box in get_boxes(example.reference)
            ]
            golds[-1].append(Gold(set_hashes({"image": str(path)}), frozenset(places)))
    order = np.random.default_rng(seed).permutation(len(golds[0])).tolist()
    labels = sorted({label for gold in golds[0] for label in gold.labels})
    return GoldData([golds[0][place] for place in order], golds[1], labels, False, "boxes")


def _model(size: int, flips: str) -> Mapping[str, Any]:
    """The fast half alone: the other has no say until pictures are complete."""
    nlp = spacy.blank("en")
    model = {"encoder": {"size": size}, "flips": flips, "slow": None}
    nlp.add_pipe("torch_object_detector", config={"model": model})
    return nlp.config


def _read(run: Run, data: GoldData) -> Points:
    true = {gold.key: gold.true for gold in data.pool}
    drawn = [count_drawn(task, true[task["_input_hash"]]) for task in run.answered]
    points: Points = []
    for point in run.checkpoints:
        so_far = drawn[: point.n_answers]
        points.append((point.score, sum(not one for one in so_far), sum(so_far)))
    return points


def _figures(name: str, curves: Mapping[str, Sequence[Points]]) -> list[Figure]:
    details = {
        "seconds": {"yes or no": YES_OR_NO, "drawing": DRAWING},
        "score, questions and boxes drawn": {
            WAYS[way]: [
                [[round(score, 3), n_asked, n_drawn] for score, n_asked, n_drawn in points]
                for points in seeds
            ]
            for way, seeds in curves.items()
        },
    }
    figures = [
        Figure(
            f"{name}, {WAYS[way]}: best AP50",
            "none",
            [max(score for score, _, _ in points) for points in curves[way]],
            TARGET,
            unit="",
            details=details if way == "binary" else {},
        )
        for way in ("binary", "correct")
    ]
    for way in ("binary", "correct"):
        for what, seconds in DRAWING.items():
            pairs = zip(curves[way], curves["manual"], strict=True)
            times = [(_time_to(theirs, seconds), _time_to(ours, seconds)) for ours, theirs in pairs]
            figures.append(
                Figure(
                    f"{name}, {WAYS[way]}: seconds to AP50 {TARGET}",
                    f"drawing every box by {what}, {seconds:g} s",
                    [theirs / ours for theirs, ours in times if theirs and ours],
                    1.0,
                    details={"seconds": [[_round(one) for one in both] for both in times]},
                )
            )
    return figures


def _time_to(points: Points, drawing: float) -> float | None:
    """Seconds until the target is reached; None where it is not."""
    for score, n_asked, n_drawn in points:
        if score >= TARGET:
            return n_asked * YES_OR_NO + n_drawn * drawing
    return None


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
