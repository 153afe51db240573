"""One side of the comparison of Hugging Face encoders, as a process that is told when to work.

It runs in two environments, and imports what only one of them has where it is needed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry

WIDTH = 384
PREDICT_BATCH = 128  # what `spacy init config --gpu` writes
TRAIN_BATCH = 16
LEARN_RATE = 5e-5  # spaCy's for a transformer
DROPOUT = 0.1

Sentence = tuple[list[str], list[bool], list[str]]


def read_conllu(path: Path, limit: int) -> list[Sentence]:
    """Words, whether a space follows, and tags of the first sentences of a treebank."""
    found: list[Sentence] = []
    for block in path.read_text(encoding="utf-8").split("\n\n")[:limit]:
        rows = [line.split("\t") for line in block.splitlines() if not line.startswith("#")]
        rows = [row for row in rows if row[0].isdigit()]
        words, spaces = [row[1] for row in rows], ["SpaceAfter=No" not in row[9] for row in rows]
        found.append((words, spaces, [row[4] for row in rows]))
    return [sentence for sentence in found if sentence[0]]


def build_ours(model: str) -> Language:
    """The stock tagger, listening to our encoder."""
    nlp = spacy.blank("en")
    encoder = {"@torch_encoders": "spacy-torch.HFTransformer.v1", "name": model, "width": WIDTH}
    shared = {"@architectures": "spacy-torch.Tok2Vec.v1", "encoder": encoder}
    nlp.add_pipe("tok2vec", config={"model": shared})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": WIDTH}
    nlp.add_pipe(
        "tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}}
    )
    return nlp


def build_peer(model: str) -> Language:
    """The stock tagger, listening to spacy-transformers as `spacy init config --gpu` sets it up."""
    nlp = spacy.blank("en")
    spans = {"@span_getters": "spacy-transformers.strided_spans.v1", "window": 128, "stride": 96}
    shared = {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "name": model,
        "tokenizer_config": {"use_fast": True},
        "get_spans": spans,
    }
    nlp.add_pipe("transformer", config={"model": shared})
    listener = {
        "@architectures": "spacy-transformers.TransformerListener.v1",
        "grad_factor": 1.0,
        "pooling": {"@layers": "reduce_mean.v1"},
    }
    nlp.add_pipe(
        "tagger", config={"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": listener}}
    )
    return nlp


class Pipeline:
    """An encoder and a tagger over the sentences of UD English EWT."""

    def __init__(self, nlp: Language, train: list[Sentence], dev: list[Sentence]) -> None:
        spacy.util.fix_random_seed(0)
        self.nlp = nlp
        self.dev = dev
        self.examples = [self._example(sentence) for sentence in train]
        nlp.initialize(lambda: self.examples)
        adam = {"@optimizers": "Adam.v1", "learn_rate": LEARN_RATE}
        self.optimizer = registry.resolve({"optimizer": adam})["optimizer"]

    def predict(self, part: slice) -> None:
        """Tag the sentences of a part."""
        for _ in self.nlp.pipe(map(self._doc, self.dev[part]), batch_size=PREDICT_BATCH):
            pass

    def train(self, part: slice) -> None:
        """Learn from the sentences of a part, once."""
        examples = self.examples[part]
        for start in range(0, len(examples), TRAIN_BATCH):
            batch = examples[start : start + TRAIN_BATCH]
            self.nlp.update(batch, sgd=self.optimizer, drop=DROPOUT)

    def score(self, part: slice) -> float:
        """The share of right tags."""
        return self.nlp.evaluate([self._example(sentence) for sentence in self.dev[part]])[
            "tag_acc"
        ]

    def _doc(self, sentence: Sentence) -> Doc:
        return Doc(self.nlp.vocab, words=sentence[0], spaces=sentence[1])

    def _example(self, sentence: Sentence) -> Example:
        return Example.from_dict(self._doc(sentence), {"words": sentence[0], "tags": sentence[2]})


class Bare:
    """transformers itself: batches in the order of the text, padded, and nothing around it."""

    def __init__(self, model: str, dev: list[Sentence]) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.model = AutoModel.from_pretrained(model).eval()
        self.dev = [
            "".join(word + " " * space for word, space in zip(words, spaces, strict=True))
            for words, spaces, _ in dev
        ]

    def predict(self, part: slice) -> None:
        """Encode the sentences of a part."""
        import torch

        texts = self.dev[part]
        for start in range(0, len(texts), PREDICT_BATCH):
            batch = texts[start : start + PREDICT_BATCH]
            inputs = self.tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
            with torch.no_grad():
                self.model(**inputs)


def main(kind: str, model: str, treebank: Path, n_train: int, n_dev: int) -> None:
    """Do what the lines of the standard input say: a method, and from which sentence to which."""
    # What libraries print must not come between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    dev = read_conllu(treebank / "en_ewt-ud-dev.conllu", n_dev)
    worker: Any
    if kind == "bare":
        worker = Bare(model, dev)
    else:
        train = read_conllu(treebank / "en_ewt-ud-train.conllu", n_train)
        worker = Pipeline((build_ours if kind == "ours" else build_peer)(model), train, dev)
    print(json.dumps("ready"), file=answers, flush=True)
    for method, start, stop in _orders():
        began = perf_counter()
        found = _call(getattr(worker, method), slice(start, stop))
        answer = {"seconds": perf_counter() - began, "found": found}
        print(json.dumps(answer), file=answers, flush=True)


def _orders() -> Iterator[tuple[str, int, int]]:
    for line in sys.stdin:
        method, start, stop = line.split()
        yield method, int(start), int(stop)


def _call(method: Callable[[slice], Any], part: slice) -> Any:
    return method(part)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
