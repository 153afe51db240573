"""Pictures with patterns to be found, small enough to learn from in a test."""

import numpy
import spacy
from images import draw_patterns
from spacy.language import Language
from spacy.training import Example

from spacy_torch.features.boxes import Box, set_boxes
from spacy_torch.features.image_docs import make_image_doc
from spacy_torch.features.picture import Picture

LABELS = ("across", "down")
SIZE, SIDE = 64, 16
SETTINGS = {"model": {"encoder": {"size": SIZE}}}
FAST = {"model": {"encoder": {"size": SIZE}, "slow": None}}


def draw_places(seed: int) -> list[tuple[str, int, int]]:
    """One or two patterns, in halves of the picture of their own."""
    generator = numpy.random.default_rng(seed)
    return [
        (
            str(generator.choice(LABELS)),
            int(x + generator.integers(0, 15)),
            int(generator.integers(0, 48)),
        )
        for x in (0, 32)[: generator.integers(1, 3)]
    ]


def make_nlp(**config: object) -> Language:
    nlp = spacy.blank("en")
    nlp.add_pipe("torch_object_detector", config={**SETTINGS, **config})
    return nlp


def make_example(nlp: Language, seed: int, *, places: list | None = None) -> Example:
    """A complete picture; the reference has none, as one of a corpus."""
    places = draw_places(seed) if places is None else places
    picture = Picture.from_source(draw_patterns(*places, seed=seed))
    doc = make_image_doc(nlp.vocab, picture)
    reference = make_image_doc(nlp.vocab, picture)
    set_boxes(reference, [Box(label, x, y, SIDE, SIDE) for label, x, y in places])
    return Example(doc, reference)


def make_examples(nlp: Language, n: int, *, first_seed: int = 0) -> list[Example]:
    return [make_example(nlp, first_seed + number) for number in range(n)]
