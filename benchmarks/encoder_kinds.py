"""Words per second of each kind of encoder beside a padded one of the same numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import spacy
import torch
from spacy.tokens import Doc
from torch import nn

from benchmarks.corpus import batched, read_banking77
from benchmarks.figures import Figure, speed_figure
from benchmarks.padded_encoders import PaddedCNN, PaddedLSTM, PaddedTransformer
from benchmarks.settings import Settings
from benchmarks.timing import take_turns
from spacy_torch.features.tokens import HashedTokens
from spacy_torch.nn.bilstm import BiLSTM
from spacy_torch.nn.hash_embed import TokenBatch
from spacy_torch.nn.hash_embed_cnn import HashEmbedCNN
from spacy_torch.nn.transformer_encoder import TransformerEncoder

ATTRS, ROWS = ["NORM", "PREFIX", "SUFFIX", "SHAPE"], [2000, 1000, 1000, 1000]
BATCH_SIZE = 64

Part = list[TokenBatch]


@dataclass(frozen=True)
class Pair:
    """One of our encoders and its padded counterpart, and how many times faster it should be."""

    name: str
    peer_name: str
    ours: nn.Module
    peer: nn.Module
    aim_train: float
    aim_predict: float


def measure(settings: Settings) -> list[Figure]:
    """Sentences of UD English EWT in batches as they come, without dropout."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    n_parts, n_batches = (2, 2) if settings.quick else (7, 8)
    docs = read_sentences(settings.data)
    featurize = HashedTokens(ATTRS, ROWS)
    batches = [featurize(docs_) for docs_ in batched(docs, BATCH_SIZE)][: n_parts * n_batches]
    parts = [list(part) for part in batched(batches, n_batches)]
    return [figure for pair in build_pairs() for figure in _compare(pair, parts)]


def build_pairs() -> Iterator[Pair]:
    """The encoders in their default sizes."""
    yield Pair(
        "BiLSTM, 2 layers, 256 wide",
        "padded nn.LSTM",
        BiLSTM(rows=ROWS, width=256, depth=2, embed_width=96),
        PaddedLSTM(ROWS, width=256, depth=2, embed_width=96),
        aim_train=2.5,
        aim_predict=1.5,
    )
    sizes = {"width": 128, "depth": 4, "n_heads": 4, "feed_forward_width": 512}
    yield Pair(
        "TransformerEncoder, 4 layers, 128 wide",
        "padded nn.TransformerEncoder",
        TransformerEncoder(rows=ROWS, **sizes),
        PaddedTransformer(ROWS, **sizes),
        aim_train=2.0,
        aim_predict=2.0,
    )
    yield Pair(
        "HashEmbedCNN, 4 layers, 96 wide",
        "padded nn.Conv1d",
        HashEmbedCNN(rows=ROWS, width=96, depth=4),
        PaddedCNN(ROWS, width=96, depth=4),
        aim_train=2.5,
        aim_predict=2.5,
    )


def read_sentences(data: Path) -> list[Doc]:
    """The training sentences of UD English EWT, or the texts of BANKING77 where it is missing."""
    nlp = spacy.blank("en")
    folder = data / "ud_english_ewt"
    if not folder.is_dir():
        return [nlp.make_doc(row.text) for row in read_banking77("train")]
    (file,) = folder.glob("*train*.conllu")
    blocks = file.read_text(encoding="utf-8").split("\n\n")
    sentences = [words for words in map(_read_words, blocks) if words]
    Random(0).shuffle(sentences)
    return [Doc(nlp.vocab, words) for words in sentences]


def _read_words(block: str) -> list[str]:
    fields = [line.split("\t") for line in block.split("\n")]
    return [field[1] for field in fields if field[0].isdecimal()]


class Trainer:
    """Trains a module on one part a turn: forward, backward and a step of AdamW."""

    def __init__(self, module: nn.Module, parts: Sequence[Part]) -> None:
        self.module = module.train()
        self.parts = parts
        self.optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)

    def __call__(self, turn: int) -> None:
        """Train on the part of this number."""
        for batch in self.parts[turn]:
            self.optimizer.zero_grad()
            self.module(batch).values.square().mean().backward()
            self.optimizer.step()


class Predictor:
    """Predicts one part a turn."""

    def __init__(self, module: nn.Module, parts: Sequence[Part]) -> None:
        self.module = module.eval()
        self.parts = parts

    @torch.no_grad()
    def __call__(self, turn: int) -> None:
        """Predict the part of this number."""
        for batch in self.parts[turn]:
            self.module(batch)


def _compare(pair: Pair, parts: Sequence[Part]) -> Iterator[Figure]:
    for what, program, aim in (
        ("training", Trainer, pair.aim_train),
        ("predicting", Predictor, pair.aim_predict),
    ):
        timing = take_turns(program(pair.ours, parts), program(pair.peer, parts), turns=len(parts))
        words = sum(len(batch.inverse) for part in parts for batch in part)
        details = {
            "words a second": {
                "ours": round(words / sum(timing.ours)),
                "peer": round(words / sum(timing.peer)),
            }
        }
        yield speed_figure(f"{pair.name}, {what}", pair.peer_name, timing, aim=aim, details=details)
