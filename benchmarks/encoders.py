"""The encoder of `spacy.HashEmbedCNN.v2`, 96 wide and 4 deep: the stock one and ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.util import registry
from thinc.api import Model

from benchmarks.corpus import batched
from spacy_torch.architectures.encoder import Encoder
from spacy_torch.architectures.hash_embed_cnn import build_hash_embed_cnn
from spacy_torch.architectures.tok2vec import build_tok2vec

WIDTH = 96
BATCH_SIZES = (64, 128, 256)
PEER = "spacy.HashEmbedCNN.v2"

Batch = Sequence[Doc]


def build_encoder() -> Encoder:
    """Ours, in the shape of the stock one."""
    return build_hash_embed_cnn(
        width=WIDTH,
        depth=4,
        attrs=["NORM", "PREFIX", "SUFFIX", "SHAPE"],
        rows=[2000, 1000, 1000, 1000],
    )


def build_pair(sample: Sequence[Doc]) -> tuple[Model[Any, Any], Model[Any, Any]]:
    """Ours and the stock one as Thinc models, initialized and with nothing in any cache."""
    torch.set_num_threads(1)
    ours = build_tok2vec(build_encoder())
    peer = registry.architectures.get(PEER)(
        width=WIDTH,
        depth=4,
        embed_size=2000,
        window_size=1,
        maxout_pieces=3,
        subword_features=True,
        pretrained_vectors=None,
    )
    for model in (ours, peer):
        model.initialize(X=list(sample))
    return ours, peer


class Documents:
    """Tokenized texts in parts, made anew for every pass, as a service would meet them."""

    def __init__(self, texts: Sequence[str], *, parts: int) -> None:
        self.nlp: Language = spacy.blank("en")
        self.texts = texts
        self.parts = parts

    def read(self, batch_size: int) -> list[list[Batch]]:
        """The batches of each part."""
        docs = [self.nlp.make_doc(text) for text in self.texts]
        per_part = -(-len(docs) // self.parts)
        return [list(batched(part, batch_size)) for part in batched(docs, per_part)]


def words_per_second(parts: list[list[Batch]], seconds: Sequence[float]) -> int:
    """Over the turns timed, for orientation."""
    counts = [sum(len(doc) for batch in part for doc in batch) for part in parts]
    turns = len(seconds)
    return round(sum(counts[turn % len(counts)] for turn in range(turns)) / sum(seconds))
