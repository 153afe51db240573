"""`spacy-torch.GivenSpans.v1`: examples whose entities and spans the pipeline is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from spacy.language import Language
from spacy.training import Example

from spacy_torch.features.gold_spans import give_spans
from spacy_torch.features.relations import register_relations

Reader = Callable[[Language], Iterable[Example]]


@dataclass(frozen=True)
class GivenSpans:
    """Gives the examples of another reader, after setting their gold spans.

    Attributes:
        reader: any reader of `[corpora]`.
    """

    reader: Reader

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Yield each example; its predicted Doc has the reference's entities and span groups."""
        for example in self.reader(nlp):
            give_spans(example)
            yield example


def build_given_spans(reader: Reader) -> Reader:
    """Train and evaluate on gold entities and spans, where no component finds any."""
    register_relations()
    return GivenSpans(reader)
