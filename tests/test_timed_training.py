"""The benchmark's trainings of equal time: turns, the falling learning rate, the best state."""

from pathlib import Path

import pytest
import spacy
import torch
from spacy.tokens import Doc, DocBin
from spacy.util import load_config
from thinc.api import Config

from benchmarks.timed_training import LAST_RATE, WARMUP_STEPS, Learner, train_in_turns
from spacy_torch.bridge.model import get_shim

CONFIG = Path(__file__).parent.parent / "configs" / "tagger.cfg"
WORDS, TAGS = ["cows", "eat", "grass"], ["N", "V", "N"]


def make_config(folder: Path) -> Config:
    vocab = spacy.blank("en").vocab
    for part in ("train", "dev"):
        DocBin(docs=[Doc(vocab, WORDS, tags=TAGS)]).to_disk(folder / f"{part}.spacy")
    config = load_config(CONFIG)
    config["paths"] = {part: str(folder / f"{part}.spacy") for part in ("train", "dev")}
    return config


class Recorder:
    """In place of a learner: notes what it is told."""

    def __init__(self, name: str, log: list[tuple]) -> None:
        self.name, self.log = name, log

    def train(self, until: float) -> None:
        self.log.append((self.name, until))

    def evaluate(self) -> None:
        self.log.append((self.name, "evaluates"))


def test_learners_take_turns_and_all_look_at_the_dev_set_at_the_end():
    log: list[tuple] = []
    learners = [Recorder("ours", log), Recorder("peer", log)]
    train_in_turns(learners, limit=3.0, piece=1.0, evaluate_every=2)  # type: ignore[arg-type]
    assert log == [
        ("ours", 1.0),
        ("peer", 1.0),
        ("ours", 2.0),
        ("ours", "evaluates"),
        ("peer", 2.0),
        ("peer", "evaluates"),
        ("ours", 3.0),
        ("ours", "evaluates"),
        ("peer", 3.0),
        ("peer", "evaluates"),
    ]


def test_learning_rate_rises_with_the_steps_and_falls_with_the_time(tmp_path):
    learner = Learner(make_config(tmp_path), limit=1000.0)
    peak = learner.training["optimizer"]["learn_rate"]["initial_rate"]

    learner.train(until=1e-9)
    assert learner.steps == 1
    assert learner.optimizer.learn_rate == pytest.approx(peak / WARMUP_STEPS)

    learner.steps, learner.seconds = WARMUP_STEPS, 400.0
    learner.train(until=400.0 + 1e-9)
    assert learner.optimizer.learn_rate == pytest.approx(0.6 * peak)

    learner.seconds = 1000.0
    learner.train(until=1000.0 + 1e-9)
    assert learner.optimizer.learn_rate == pytest.approx(LAST_RATE * peak)


def test_constant_learning_rate_of_a_stock_optimizer_stays(tmp_path):
    config = make_config(tmp_path)
    config["training"]["optimizer"] = {"@optimizers": "Adam.v1", "learn_rate": 0.002}
    learner = Learner(config, limit=1000.0)
    learner.train(until=1e-9)
    assert learner.optimizer.learn_rate == 0.002
    assert learner.words == len(WORDS)


def test_best_state_on_the_dev_set_is_taken(tmp_path):
    learner = Learner(make_config(tmp_path), limit=1000.0)
    while not learner.evaluations or learner.evaluations[-1].score < 1.0:
        learner.train(until=learner.seconds + 0.01)
        learner.evaluate()
    module = get_shim(learner.nlp.get_pipe("torch_tagger").model.get_ref("logits")).module
    with torch.no_grad():
        module.output.weight.neg_()
    learner.evaluate()
    assert learner.evaluations[-1].score < 1.0

    learner.take_best()

    (example,) = learner.read("dev")
    assert [token.tag_ for token in learner.nlp(example.predicted)] == TAGS
