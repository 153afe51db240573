"""A small trained pipeline in a folder, for workers of several processes, and texts for it."""

from pathlib import Path

import spacy
import troubles
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab

TROUBLES = Path(troubles.__file__)
WORDS = ["card", "rate", "money", "lost", "new", "abroad", "fee", "app"]


def save_pipeline(folder: Path, *, trouble: Path | None = None) -> Path:
    """Save a classifier that has learned a little, with a component that fails if wanted.

    Args:
        folder: where to.
        trouble: the folder of `troubles.Troubles`, which comes last; None for no such component.
    """
    nlp = spacy.blank("en")
    model = {
        "@architectures": "spacy-torch.TextCatBOW.v1",
        "exclusive_classes": True,
        "ngram_rows": 997,
    }
    nlp.add_pipe("torch_textcat", config={"model": model})
    examples = [
        Example.from_dict(nlp.make_doc(f"my {word}"), {"cats": {"a": odd, "b": 1.0 - odd}})
        for place, word in enumerate(WORDS)
        for odd in [float(place % 2)]
    ]
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(3):
        nlp.update(examples, sgd=optimizer)
    if trouble is not None:
        trouble.mkdir(exist_ok=True)
        nlp.add_pipe("tests_troubles", config={"folder": str(trouble)})
    nlp.to_disk(folder)
    return folder


def make_texts(number: int) -> list[str]:
    """So many texts, all different."""
    return [f"{WORDS[i % 8]} {WORDS[i // 8 % 8]} number {i}" for i in range(number)]


def read_scores(data: bytes) -> tuple[str, dict[str, float]]:
    """The text and the scores, rounded, of the bytes of a Doc."""
    doc = Doc(Vocab()).from_bytes(data)
    return doc.text, {label: round(score, 5) for label, score in doc.cats.items()}
