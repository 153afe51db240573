"""`torch_parser` against spaCy's parser on UD English EWT: words per second, and scores.

Both learn from gold tokens in documents of four sentences, and are measured on documents of ten:
they have to find the sentences, too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.training.converters import conllu_to_docs
from thinc.api import Config, Optimizer, fix_random_seed, registry

from benchmarks.figures import Figure, speed_figure
from benchmarks.settings import ROOT, Settings
from benchmarks.timing import take_turns

PEER = "spaCy's parser"
SENTENCES = {"train": 4, "dev": 10, "test": 10}
WIDTH, DEPTH = 96, 4
# Gold words a batch, for both.
BATCH = 500
# How long each learns for the comparison of scores, and for how long before the other goes on.
SECONDS, SLICE = 180.0, 10.0

STOCK_MODEL = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "parser",
    "extra_state_tokens": False,
    "hidden_width": 64,
    "maxout_pieces": 2,
    "use_upper": True,
    "tok2vec": {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "width": WIDTH,
        "depth": DEPTH,
        "embed_size": 2000,
        "window_size": 1,
        "maxout_pieces": 3,
        "subword_features": True,
        "pretrained_vectors": None,
    },
}
OUR_MODEL = {
    "@architectures": "spacy-torch.BiaffineParser.v1",
    "encoder": {
        "@torch_encoders": "spacy-torch.HashEmbedCNN.v1",
        "width": WIDTH,
        "depth": DEPTH,
    },
}


def measure(settings: Settings) -> list[Figure]:
    """Speeds with encoders of the same size, then what each learns in the same time."""
    torch.set_num_threads(1)
    most = 100 if settings.quick else None
    texts = {part: _read(settings.data, part, most=most) for part in SENTENCES}
    return [*_compare_speed(texts, settings), *_compare_scores(texts, settings)]


class Learner:
    """A pipeline of one parser, trained by steps or for some seconds.

    Attributes:
        seconds: how long it has been trained so far.
        steps: how often its weights were moved.
    """

    def __init__(
        self, factory: str, model: dict[str, Any], texts: Sequence[Doc], *, drop: float
    ) -> None:
        fix_random_seed(0)
        self.nlp = spacy.blank("en")
        self.nlp.add_pipe(factory, config={"model": model})
        self.examples = make_examples(self.nlp, texts)
        self.optimizer = self.nlp.initialize(lambda: self.examples)
        self.drop = drop
        self.batches = _batches(self.examples, size=BATCH)
        self.seconds = 0.0
        self.steps = 0

    def step(self) -> int:
        """Learn from the next batch; the number of its words."""
        batch = next(self.batches)
        start = perf_counter()
        self.nlp.update(batch, sgd=self.optimizer, drop=self.drop)
        self.seconds += perf_counter() - start
        self.steps += 1
        return sum(len(eg.predicted) for eg in batch)

    def score(self, texts: Sequence[Doc]) -> dict[str, float]:
        """The scores on gold tokens, in percent."""
        scores = self.nlp.evaluate(make_examples(self.nlp, texts))
        return {key: 100 * scores[key] for key in ("dep_uas", "dep_las", "sents_f")}


class OurLearner(Learner):
    """Ours with the optimizer of configs/parser.cfg, whose learn rate ends with the time."""

    def __init__(self, texts: Sequence[Doc], *, limit: float) -> None:
        config = Config().from_disk(ROOT / "configs" / "parser.cfg")
        training = config["training"]
        model = config["components"]["torch_parser"]["model"]
        super().__init__("torch_parser", model, texts, drop=training["dropout"])
        settings = training["optimizer"]
        self.peak = settings.pop("learn_rate")["initial_rate"]
        self.optimizer: Optimizer = registry.resolve(
            {"optimizer": {**settings, "learn_rate": self.peak}}
        )["optimizer"]
        self.limit = limit

    def step(self) -> int:
        """Learn from the next batch; the number of its words."""
        warm = min(1.0, (self.steps + 1) / 250)
        self.optimizer.learn_rate = self.peak * warm * max(1 - self.seconds / self.limit, 0.01)
        return super().step()


def make_examples(nlp: Language, texts: Sequence[Doc]) -> list[Example]:
    """Gold tokens for the pipeline, on this vocabulary."""
    examples = []
    for text in texts:
        words, spaces = [t.text for t in text], [bool(t.whitespace_) for t in text]
        gold = Doc(
            nlp.vocab,
            words,
            spaces,
            heads=[t.head.i for t in text],
            deps=[t.dep_ for t in text],
        )
        examples.append(Example(Doc(nlp.vocab, words, spaces), gold))
    return examples


def _compare_speed(texts: dict[str, list[Doc]], settings: Settings) -> list[Figure]:
    ours = Learner("torch_parser", OUR_MODEL, texts["train"], drop=0.1)
    peer = Learner("parser", STOCK_MODEL, texts["train"], drop=0.1)
    # Enough for sentences to be found: before, one tree spans a whole document.
    steps, turns = (2, 2) if settings.quick else (40, 5)
    train = take_turns(
        lambda _: [ours.step() for _ in range(steps)],
        lambda _: [peer.step() for _ in range(steps)],
        turns=turns,
    )
    return [
        speed_figure("parser_ewt, training, same encoder", PEER, train, aim=1.8),
        _compare_predicting("same encoder", ours, peer, texts["dev"], turns=turns),
    ]


def _compare_predicting(
    what: str, ours: Learner, peer: Learner, texts: Sequence[Doc], *, turns: int
) -> Figure:
    timing = take_turns(
        lambda _: _predict(ours.nlp, texts), lambda _: _predict(peer.nlp, texts), turns=turns
    )
    n_words = sum(len(text) for text in texts)
    rates = {who: round(n_words / seconds) for who, seconds in timing.medians().items()}
    details = {"words a second": rates}
    return speed_figure(f"parser_ewt, predicting, {what}", PEER, timing, aim=2.0, details=details)


def _compare_scores(texts: dict[str, list[Doc]], settings: Settings) -> list[Figure]:
    limit, part = (6.0, 3.0) if settings.quick else (SECONDS, SLICE)
    learners = {
        "ours": OurLearner(texts["train"], limit=limit),
        "peer": Learner("parser", STOCK_MODEL, texts["train"], drop=0.1),
    }
    words = dict.fromkeys(learners, 0)
    for end in range(1, round(limit / part) + 1):
        for name, learner in learners.items():
            while learner.seconds < end * part:
                words[name] += learner.step()
    scores = {name: learner.score(texts["test"]) for name, learner in learners.items()}
    details = {
        "seconds": limit,
        "words learned from": words,
        "steps": {name: learner.steps for name, learner in learners.items()},
        "test": {name: {k: round(v, 2) for k, v in s.items()} for name, s in scores.items()},
    }
    turns = 2 if settings.quick else 5
    predict = _compare_predicting("configs/parser.cfg", **learners, texts=texts["dev"], turns=turns)
    return [predict, *_subtract(scores, details)]


def _subtract(scores: dict[str, dict[str, float]], details: dict[str, Any]) -> list[Figure]:
    return [
        Figure(
            f"parser_ewt, test {label} after the same time, ours minus theirs",
            PEER,
            [scores["ours"][key] - scores["peer"][key]],
            aim=aim,
            unit="points",
            details=details if key == "dep_las" else {},
        )
        for key, label, aim in (("dep_las", "LAS", 2.0), ("dep_uas", "UAS", None))
    ]


def _predict(nlp: Language, texts: Sequence[Doc]) -> None:
    docs = [Doc(nlp.vocab, [token.text for token in text]) for text in texts]
    for _ in nlp.pipe(docs, batch_size=64):
        pass


def _read(data: Path, part: str, *, most: int | None) -> list[Doc]:
    """Documents of a part, of its first sentences only if not all are wanted."""
    file = data / "ud_english_ewt" / f"en_ewt-ud-{part}.conllu"
    sentences = file.read_text(encoding="utf-8").split("\n\n")[:most]
    text = "\n\n".join(sentences)
    return list(conllu_to_docs(text, n_sents=SENTENCES[part], no_print=True))


def _batches(examples: Sequence[Example], *, size: int) -> Iterator[list[Example]]:
    """Batches of about so many words, without end, in a new order in each round."""
    order = list(examples)
    shuffle = random.Random(0).shuffle
    while True:
        shuffle(order)
        batch: list[Example] = []
        for example in order:
            batch.append(example)
            if sum(len(eg.predicted) for eg in batch) >= size:
                yield batch
                batch = []
