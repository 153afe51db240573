"""Words per second of whole pipelines on UD English EWT: a tagger, a morphologizer, a parser."""

from __future__ import annotations

import math
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from spacy.cli.init_config import init_config
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Corpus, Example
from spacy.training.batchers import minibatch_by_words
from spacy.training.converters import conllu_to_docs
from spacy.training.initialize import init_nlp
from spacy.util import registry
from thinc.api import Config, Optimizer, fix_random_seed

from benchmarks.figures import Figure, speed_figure
from benchmarks.settings import ROOT, Settings
from benchmarks.timing import Timing, take_turns

OUR_CONFIG = ROOT / "configs" / "english_ewt.cfg"
PIPELINE = ["tagger", "morphologizer", "parser"]
STOCK = "spacy init config, efficiency"
SWAPPED, OURS = "stock components on Tok2Vec.v1", "english_ewt.cfg"
# What the batches of `spacy init config` grow to.
BATCH_WORDS = 1000
BATCH_SENTENCES = 256
DROPOUT = 0.1


def measure(settings: Settings) -> list[Figure]:
    """Both of ours against the stock pipeline: training on gold sentences, then predicting."""
    turns, words = (1, 2_000) if settings.quick else (6, 20_000)
    configs = {
        SWAPPED: (build_swapped_config(), 1.0, 1.0),
        OURS: (Config().from_disk(OUR_CONFIG, interpolate=False), 1.8, 2.0),
    }
    figures = []
    with tempfile.TemporaryDirectory() as temporary:
        corpus = convert_ewt(settings, Path(temporary))
        for name, (config, aim_training, aim_predicting) in configs.items():
            ours = Trainer(config, corpus, turns=turns, words=words)
            peer = Trainer(build_stock_config(), corpus, turns=turns, words=words)
            timing = take_turns(ours, peer, turns=turns)
            n_words = ours.n_words / len(ours.stretches)
            figure = _compare(f"english_ewt, training, {name}", timing, n_words, aim_training)
            figures.append(figure)
            # What was trained so far: a stock parser's time depends on what it predicts.
            readers = [
                Predictor(trainer.nlp, corpus, turns=turns, words=words) for trainer in (ours, peer)
            ]
            timing = take_turns(*readers, turns=turns)
            n_words = readers[0].n_words
            figure = _compare(f"english_ewt, predicting, {name}", timing, n_words, aim_predicting)
            figures.append(figure)
    return figures


def convert_ewt(settings: Settings, folder: Path) -> Path:
    """Write train.spacy, dev.spacy and test.spacy into the folder, and give it.

    Of each only the beginning, if it is to be quick.

    Raises:
        FileNotFoundError: the treebank is not among the data sets.
    """
    for part in ("train", "dev", "test"):
        file = settings.data / "ud_english_ewt" / f"en_ewt-ud-{part}.conllu"
        if not file.exists():
            raise FileNotFoundError(
                f"{file} is missing: get UD English EWT from https://universaldependencies.org "
                "and name the folder that holds ud_english_ewt with --data"
            )
        docs = conllu_to_docs(file.read_text(encoding="utf-8"), n_sents=10, no_print=True)
        DocBin(docs=islice(docs, 40 if settings.quick else None)).to_disk(folder / f"{part}.spacy")
    return folder


def build_stock_config() -> Config:
    """What `spacy init config --optimize efficiency` gives for the three components."""
    return init_config(lang="en", pipeline=PIPELINE, optimize="efficiency", silent=True)


def build_swapped_config() -> Config:
    """The same with one block changed: the model of the shared tok2vec, in the same shape."""
    config = build_stock_config()
    stock = config["components"]["tok2vec"]["model"]
    encoder = {
        "@torch_encoders": "spacy-torch.HashEmbedCNN.v1",
        "width": stock["encode"]["width"],
        "depth": stock["encode"]["depth"],
        "attrs": stock["embed"]["attrs"],
        "rows": stock["embed"]["rows"],
    }
    model = {"@architectures": "spacy-torch.Tok2Vec.v1", "encoder": encoder}
    config["components"]["tok2vec"]["model"] = model
    for name in PIPELINE:
        listener = config["components"][name]["model"]["tok2vec"]
        listener["width"] = "${components.tok2vec.model.encoder.width}"
    return config


def set_corpora(config: Config, corpus: Path) -> Config:
    """A copy of a training config that reads gold sentences and tokens from these files."""
    config = config.copy()
    config["paths"].update(train=str(corpus / "train.spacy"), dev=str(corpus / "dev.spacy"))
    for part in ("train", "dev"):
        config["corpora"][part]["gold_preproc"] = True
    return config


def read_sentences(nlp: Language, corpus: Path, part: str, *, words: int = 0) -> list[Example]:
    """The sentences of a part with their gold tokens, new objects each time.

    Args:
        words: stop once there are this many; 0 for all.
    """
    examples: list[Example] = []
    n_words = 0
    for example in Corpus(corpus / f"{part}.spacy", gold_preproc=True)(nlp):
        examples.append(example)
        n_words += len(example.predicted)
        if words and n_words >= words:
            break
    return examples


class Trainer:
    """Trains a pipeline on one stretch of the treebank a turn, as `spacy train` would."""

    def __init__(self, config: Config, corpus: Path, *, turns: int, words: int) -> None:
        torch.set_num_threads(1)
        fix_random_seed(0)
        self.nlp = init_nlp(set_corpora(config, corpus))
        training: dict[str, Any] = self.nlp.config.interpolate()["training"]
        self.optimizer: Optimizer = _resolve(training["optimizer"])
        examples = read_sentences(self.nlp, corpus, "train", words=turns * words)
        self.n_words = sum(len(example.predicted) for example in examples)
        batches = list(minibatch_by_words(examples, size=BATCH_WORDS, tolerance=0.2))
        size = math.ceil(len(batches) / turns)
        self.stretches = [batches[start : start + size] for start in range(0, len(batches), size)]

    def __call__(self, turn: int) -> None:
        """Train on the stretch of this number."""
        for batch in self.stretches[turn]:
            self.nlp.update(batch, drop=DROPOUT, sgd=False)
            for _, component in self.nlp.pipeline:
                component.finish_update(self.optimizer)
            self.optimizer.step_schedules()


class Predictor:
    """Annotates the sentences of the test set, the same ones each turn, in new documents."""

    def __init__(self, nlp: Language, corpus: Path, *, turns: int, words: int) -> None:
        self.nlp = nlp
        # One more for the warming up, which has the number of the first turn.
        parts = [read_sentences(nlp, corpus, "test", words=words) for _ in range(turns + 1)]
        self.parts = [[example.predicted for example in part] for part in parts]
        self.n_words = sum(map(len, self.parts[0]))

    def __call__(self, turn: int) -> None:
        """Annotate all of them."""
        for _ in self.nlp.pipe(self.parts.pop(), batch_size=BATCH_SENTENCES):
            pass


def _resolve(optimizer: dict[str, Any]) -> Optimizer:
    return registry.resolve({"optimizer": optimizer})["optimizer"]


def _compare(name: str, timing: Timing, n_words: float, aim: float) -> Figure:
    words = {who: round(n_words / seconds) for who, seconds in timing.medians().items()}
    return speed_figure(name, STOCK, timing, aim=aim, details={"words a second": words})
