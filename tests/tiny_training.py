"""A training of a second: sixty sentences of made-up words, and pipelines that learn them."""

import random
from pathlib import Path

import spacy
from spacy.tokens import Doc, DocBin, Span
from thinc.api import Config

WORDS = [f"{letter}{number}" for letter in "abc" for number in range(12)]
WIDTH = 8
TOK2VEC = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "pretrained_vectors": None,
    "width": WIDTH,
    "depth": 1,
    "embed_size": 50,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
}
LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": WIDTH, "upstream": "*"}
ENCODER = {
    "@torch_encoders": "spacy-torch.HashEmbedCNN.v1",
    "width": WIDTH,
    "depth": 1,
    "dropout": 0.1,
}
OUR_TOK2VEC = {"@architectures": "spacy-torch.Tok2Vec.v1", "encoder": ENCODER}
OUR_TAGGER = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": ENCODER}
STOCK_TAGGER = {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER}

STOCK_NER = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "ner",
    "extra_state_tokens": False,
    "hidden_width": 8,
    "maxout_pieces": 2,
    "use_upper": True,
    "tok2vec": LISTENER,
}


def write_corpora(path: Path) -> None:
    """Write train.spacy and dev.spacy: the tag of a word is its letter, a1 is an entity."""
    draw = random.Random(0)
    vocab = spacy.blank("en").vocab
    for name, count in (("train", 60), ("dev", 12)):
        docs = [_draw_doc(draw, vocab) for _ in range(count)]
        DocBin(docs=docs).to_disk(path / f"{name}.spacy")


def _draw_doc(draw: random.Random, vocab: spacy.vocab.Vocab) -> Doc:
    words = [draw.choice(WORDS) for _ in range(draw.randint(2, 9))]
    n = len(words)
    doc = Doc(
        vocab,
        words=words,
        tags=[word[0].upper() for word in words],
        heads=[0, *range(n - 1)],
        deps=["ROOT", *(word[0] for word in words[1:])],
    )
    doc.cats = {"A": float(words[0][0] == "a"), "B": float(words[0][0] != "a")}
    doc.set_ents([Span(doc, i, i + 1, "X") for i, word in enumerate(words) if word < "a2"])
    return doc


def make_config(
    path: Path,
    pipes: dict[str, dict],
    *,
    augmenter: dict | None = None,
    optimizer: dict | None = None,
    **training: object,
) -> Path:
    """Write the config of a training on the corpora in a directory; returns the file.

    Args:
        pipes: factory -> its settings.
        training: settings of [training].
    """
    nlp = spacy.blank("en")
    for factory, settings in pipes.items():
        nlp.add_pipe(factory, config=settings)
    config = Config(nlp.config.copy())
    for name in ("train", "dev"):
        config["corpora"][name] = {
            "@readers": "spacy.Corpus.v1",
            "path": str(path / f"{name}.spacy"),
            "augmenter": augmenter if name == "train" else None,
        }
    config["training"].update(
        {
            "max_steps": 11,
            "eval_frequency": 3,
            "patience": 0,
            "dropout": 0.2,
            "batcher": {
                "@batchers": "spacy.batch_by_words.v1",
                "size": 60,
                "tolerance": 0.2,
                "discard_oversize": False,
            },
            **training,
        }
    )
    if optimizer is not None:
        config["training"]["optimizer"] = optimizer
    file = path / "config.cfg"
    config.to_disk(file)
    return file


def contents(path: Path) -> dict[str, bytes]:
    """All files of a directory, by their names."""
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
