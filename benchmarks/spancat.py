"""Labelled spans of Restaurants-8k: configs/spancat.cfg against spaCy's default `spancat`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import load_config, registry
from thinc.api import Config, Optimizer, fix_random_seed

from benchmarks.corpus import batched
from benchmarks.figures import Figure, speed_figure
from benchmarks.restaurant8k import Booking, make_examples, read_restaurant8k
from benchmarks.settings import ROOT, Settings
from benchmarks.timing import take_turns

CONFIG = ROOT / "configs" / "spancat.cfg"
TUNED = {"threshold": 0.3, "overlap": "none"}
PEER = "spancat"
OURS = "torch_spancat"
# The same for both: as many as spaCy's needs until its score on held-out training texts no
# longer rises.
EPOCHS = {"all": 10, "256": 30}
BATCH_SIZES = {"all": 64, "256": 32}
SEEDS = {"all": (0,), "256": (0, 1, 2)}
TURNS = 5


def measure(settings: Settings) -> list[Figure]:
    """Speed on parts of the data in turns, then F on the test set for both training sets.

    Both get the same suggester, batches and number of epochs; each its own optimizer and
    dropout. Texts are all that they see: the slots that the dialogue system has asked for,
    which the data set has too, are left out.
    """
    torch.set_num_threads(1)
    folder = settings.data / "restaurant8k"
    if not folder.is_dir():
        raise SystemExit(f"no folder restaurant8k in {settings.data} (see --data)")
    test = read_restaurant8k(folder, "test")
    sets = {name: read_restaurant8k(folder, name) for name in EPOCHS}
    if settings.quick:
        test, sets = test[:300], {name: rows[:200] for name, rows in sets.items()}
    figures = _compare_speed(sets["all"], test)
    for name, bookings in sets.items():
        figures.append(_compare_scores(name, bookings, test, quick=settings.quick))
    return figures


def build_pipeline(
    factory: str, examples: Sequence[Example], *, n_steps: int, seed: int
) -> tuple[Language, Optimizer, float]:
    """An initialized pipeline, its optimizer and its dropout.

    Ours is what configs/spancat.cfg says, with the settings that were best on held-out training
    texts and its learning rate falling over `n_steps`; the peer has spaCy's defaults, and the
    same suggester.
    """
    fix_random_seed(seed)
    nlp = spacy.blank("en")
    config = load_config(CONFIG)
    settings: dict[str, Any] = config["components"][OURS]
    dropout = 0.1
    optimizer = None
    if factory == PEER:
        settings = {"suggester": settings["suggester"]}
    else:
        settings |= TUNED
        training: Config = config["training"]
        dropout = training["dropout"]
        training["optimizer"]["learn_rate"]["warmup_steps"] = max(1, n_steps // 20)
        training["optimizer"]["learn_rate"]["total_steps"] = n_steps
        optimizer = registry.resolve({"optimizer": training["optimizer"]})["optimizer"]
    nlp.add_pipe(factory, config={k: v for k, v in settings.items() if k != "factory"})
    default = nlp.initialize(lambda: examples)
    return nlp, optimizer or default, dropout


class Trainer:
    """Trains a pipeline on batches, in an order of its own seed."""

    def __init__(
        self, factory: str, bookings: Sequence[Booking], *, n_steps: int, seed: int = 0
    ) -> None:
        self.examples = make_examples(spacy.blank("en"), bookings)
        self.nlp, self.optimizer, self.dropout = build_pipeline(
            factory, self.examples, n_steps=n_steps, seed=seed
        )
        self.random = random.Random(seed)

    def train(self, examples: Sequence[Example], *, batch_size: int) -> None:
        """One pass over the examples."""
        for batch in batched(examples, batch_size):
            self.nlp.update(batch, sgd=self.optimizer, drop=self.dropout)
            self.optimizer.step_schedules()

    def train_epoch(self, *, batch_size: int) -> None:
        """One pass over all examples in a new order."""
        self.random.shuffle(self.examples)
        self.train(self.examples, batch_size=batch_size)


def _compare_speed(bookings: Sequence[Booking], test: Sequence[Booking]) -> list[Figure]:
    """Training, and then predicting with what was trained, part by part."""
    batch_size = BATCH_SIZES["all"]
    n_steps = len(bookings) // batch_size
    trainers = [Trainer(factory, bookings, n_steps=n_steps) for factory in (OURS, PEER)]
    size = -(-len(bookings) // TURNS)

    def train(trainer: Trainer, turn: int) -> None:
        part = trainer.examples[turn * size : (turn + 1) * size]
        trainer.train(part, batch_size=batch_size)

    timing = take_turns(
        lambda turn: train(trainers[0], turn), lambda turn: train(trainers[1], turn), turns=TURNS
    )
    n_words = sum(len(eg.reference) for eg in trainers[0].examples[:size])
    words = {"words a turn": n_words}
    training = speed_figure("spancat, training", PEER, timing, aim=2.0, details=words)

    # Each has documents of its own for each turn, so that nothing is met twice.
    def read(trainer: Trainer) -> list[list[Doc]]:
        docs = [trainer.nlp.make_doc(booking.text) for booking in test]
        warm_up = [trainer.nlp.make_doc(booking.text) for booking in bookings[:64]]
        return [warm_up, *map(list, batched(docs, -(-len(docs) // TURNS)))]

    parts = [read(trainer) for trainer in trainers]

    def predict(trainer: Trainer, docs: Sequence[Doc]) -> None:
        for _ in trainer.nlp.pipe(docs, batch_size=128):
            pass

    for trainer, (warm_up, *_) in zip(trainers, parts, strict=True):
        predict(trainer, warm_up)
    timing = take_turns(
        lambda turn: predict(trainers[0], parts[0][turn + 1]),
        lambda turn: predict(trainers[1], parts[1][turn + 1]),
        turns=len(parts[0]) - 1,
        warm_up=0,
    )
    words = {"words a turn": sum(len(doc) for doc in parts[0][1])}
    predicting = speed_figure("spancat, predicting", PEER, timing, aim=2.0, details=words)
    return [training, predicting]


def _compare_scores(
    name: str, bookings: Sequence[Booking], test: Sequence[Booking], *, quick: bool
) -> Figure:
    scores: dict[str, list[dict[str, float]]] = {OURS: [], PEER: []}
    epochs = 2 if quick else EPOCHS[name]
    batch_size = BATCH_SIZES[name]
    for seed in SEEDS[name][:1] if quick else SEEDS[name]:
        for factory, found in scores.items():
            n_steps = epochs * -(-len(bookings) // batch_size)
            trainer = Trainer(factory, bookings, n_steps=n_steps, seed=seed)
            for _ in range(epochs):
                trainer.train_epoch(batch_size=batch_size)
            result = trainer.nlp.evaluate(make_examples(trainer.nlp, test))
            found.append(
                {part: round(100 * (result[f"spans_sc_{part}"] or 0.0), 2) for part in "prf"}
            )
            print(f"   {name}, seed {seed}, {factory}: {found[-1]}", flush=True)
    differences = [
        ours["f"] - peer["f"] for ours, peer in zip(scores[OURS], scores[PEER], strict=True)
    ]
    return Figure(
        f"spancat, F on the test set, {len(bookings):,} training texts",
        PEER,
        differences,
        aim=3.0,
        unit="points",
        details={"scores": scores, "epochs": epochs},
    )
