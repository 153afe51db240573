"""`torch_tagger`: the fine-grained tag of each token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import numpy
from spacy.attrs import TAG
from spacy.language import Language
from spacy.pipeline.tagger import tagger_score
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model
from torch import Tensor
from typing_extensions import override

from spacy_torch.components.gold_tokens import find_columns
from spacy_torch.components.losses import Loss
from spacy_torch.components.probabilities import Probabilities
from spacy_torch.components.token_scores import (
    DEFAULT_TOKEN_MODEL,
    best_columns,
    check_token_parts,
    initialize_token_model,
    token_loss,
    token_probabilities,
    write_attr,
)
from spacy_torch.components.torch_pipe import TorchPipe


@Language.factory(
    "torch_tagger",
    assigns=["token.tag"],
    default_config={
        "model": DEFAULT_TOKEN_MODEL,
        "loss": {"@torch_losses": "spacy-torch.CrossEntropy.v1"},
        "overwrite": False,
        "scorer": {"@scorers": "spacy.tagger_scorer.v1"},
    },
    default_score_weights={"tag_acc": 1.0},
)
def make_tagger(
    nlp: Language,
    name: str,
    model: Model[list[Doc], Any],
    loss: Loss,
    overwrite: bool,
    scorer: Callable[..., Any] | None,
) -> Tagger:
    """One tag per token, in `token.tag_`."""
    return Tagger(nlp.vocab, model, name, loss=loss, overwrite=overwrite, scorer=scorer)


class Tagger(TorchPipe):
    """Tag the tokens of a text.

    A token without a gold tag, or with one that is no label, trains nothing; the latter are
    counted in `skipped`.

    Args:
        loss: of exclusive labels.
        overwrite: replace tags that tokens have already.

    Raises:
        TypeError, ValueError: model or loss are for something else.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], Any],
        name: str,
        *,
        loss: Loss,
        overwrite: bool = False,
        scorer: Callable[..., dict[str, Any]] | None = tagger_score,
    ) -> None:
        check_token_parts(name, model=model, loss=loss)
        super().__init__(vocab, model, name, scorer=scorer, overwrite=overwrite)
        self.loss = loss

    @override
    def predict(self, docs: Iterable[Doc]) -> Any:
        return best_columns(self, docs)

    @override
    def set_annotations(self, docs: Iterable[Doc], scores: Any) -> None:
        ids = numpy.array([self.vocab.strings[label] for label in self.labels], dtype="uint64")
        for doc, columns in zip(docs, scores, strict=True):
            write_attr(doc, TAG, ids[columns], overwrite=self.cfg["overwrite"])

    def probabilities(self, docs: Iterable[Doc]) -> list[Probabilities]:
        """The probability of each tag; the candidates are the tokens."""
        return token_probabilities(self, docs)

    @override
    def compute_loss(self, examples: Sequence[Example], logits: Any) -> Tensor:
        columns = {(self.vocab.strings[label],): i for i, label in enumerate(self.labels)}
        return token_loss(self.loss, logits, find_columns(examples, [TAG], columns, self._skip))

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
    ) -> None:
        """Take the tags from the examples, or as given, and build the module.

        Raises:
            ValueError: there is no label.
        """
        self._begin_initialize(get_examples, nlp)
        self._add_labels(labels, lambda: _find_labels(get_examples()))
        sample = [eg.reference for eg in islice(get_examples(), 10)]
        initialize_token_model(self, sample, step="annotate token.tag in the training examples")


def _find_labels(examples: Iterable[Example]) -> list[str]:
    return sorted({token.tag_ for eg in examples for token in eg.reference if token.tag_})
