"""Pictures of two kinds of stripes, small enough to learn from in a test."""

from collections.abc import Sequence

import numpy
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

from spacy_torch.features.image_docs import make_image_doc
from spacy_torch.features.picture import Picture

LABELS = ("across", "down")
SIDE = 16


def draw_stripes(label: str, *, seed: int) -> numpy.ndarray:
    """Stripes in some colour, of some width, beginning somewhere: (height, width, 3)."""
    generator = numpy.random.default_rng(seed)
    wave = generator.uniform(0.8, 1.4) * numpy.arange(SIDE) + generator.uniform(0, 6)
    stripes = numpy.sin(wave)[:, None] * numpy.ones(SIDE)
    if label == "down":
        stripes = stripes.T
    colour = generator.uniform(30, 120, size=3)
    noise = generator.normal(scale=8, size=(SIDE, SIDE, 3))
    return (127 + stripes[..., None] * colour + noise).clip(0, 255).astype("uint8")


def make_picture_doc(nlp: Language, label: str, *, seed: int) -> Doc:
    return make_image_doc(nlp.vocab, Picture.from_source(draw_stripes(label, seed=seed)))


def make_examples(nlp: Language, n: int = 8, *, first_seed: int = 0) -> list[Example]:
    """Pictures of both labels in turns; the reference has no picture, as one of a corpus."""
    examples = []
    for number in range(n):
        label = LABELS[number % 2]
        doc = make_picture_doc(nlp, label, seed=first_seed + number)
        cats = {other: float(other == label) for other in LABELS}
        examples.append(Example.from_dict(doc, {"cats": cats}))
    return examples


def make_nlp(factory: str, model: dict, **config: object) -> Language:
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, config={"model": model, **config})
    return nlp


def train(nlp: Language, examples: Sequence[Example], *, steps: int) -> None:
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.005
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)


def count_right(nlp: Language, *, n: int = 20) -> float:
    """The share of other pictures whose label has the highest score."""
    examples = make_examples(nlp, n, first_seed=1000)
    found = [max(doc.cats, key=doc.cats.get) for doc in nlp.pipe(eg.predicted for eg in examples)]
    truth = [max(eg.reference.cats, key=eg.reference.cats.get) for eg in examples]
    return sum(a == b for a, b in zip(found, truth, strict=True)) / n
