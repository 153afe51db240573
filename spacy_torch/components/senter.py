"""`torch_senter`: where sentences start."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import numpy
from spacy.attrs import SENT_START
from spacy.language import Language
from spacy.pipeline.senter import senter_score
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Model
from torch import Tensor
from typing_extensions import override

from spacy_torch.components.gold_tokens import UNKNOWN, Columns, read_sentence_starts
from spacy_torch.components.losses import Loss
from spacy_torch.components.probabilities import Probabilities
from spacy_torch.components.skipped import Skip
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

# The labels of spaCy's own: inside of a sentence, and its start.
INSIDE, START = 0, 1
LABELS = ("I", "S")


@Language.factory(
    "torch_senter",
    assigns=["token.is_sent_start"],
    default_config={
        "model": DEFAULT_TOKEN_MODEL,
        "loss": {"@torch_losses": "spacy-torch.CrossEntropy.v1"},
        "overwrite": False,
        "scorer": {"@scorers": "spacy.senter_scorer.v1"},
    },
    default_score_weights={"sents_f": 1.0, "sents_p": 0.0, "sents_r": 0.0},
)
def make_senter(
    nlp: Language,
    name: str,
    model: Model[list[Doc], Any],
    loss: Loss,
    overwrite: bool,
    scorer: Callable[..., Any] | None,
) -> SentenceRecognizer:
    """Whether a sentence starts at each token, in `token.is_sent_start`."""
    return SentenceRecognizer(nlp.vocab, model, name, loss=loss, overwrite=overwrite, scorer=scorer)


class SentenceRecognizer(TorchPipe):
    """Find the sentences of a text.

    A token of which is not known whether it starts a sentence (`is_sent_start` is None)
    trains nothing; spaCy's own senter learns that it does not. Nor does one in which a sentence
    starts, which is counted in `skipped`. The first token of a
    document always starts one.

    Args:
        loss: of exclusive labels.
        overwrite: replace sentence starts that are set already.

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
        scorer: Callable[..., dict[str, Any]] | None = senter_score,
    ) -> None:
        check_token_parts(name, model=model, loss=loss)
        super().__init__(vocab, model, name, scorer=scorer, overwrite=overwrite)
        self.cfg["labels"] = list(LABELS)
        self.loss = loss

    @property
    def hide_labels(self) -> bool:
        """Keep "I" and "S" out of the pipeline's meta: they are not the user's."""
        return True

    @property
    @override
    def label_data(self) -> None:
        return None

    def add_label(self, label: str) -> int:
        """There is nothing to add: a token starts a sentence or does not.

        Raises:
            NotImplementedError: always, as spaCy's own does.
        """
        raise NotImplementedError(
            f"{self.name!r} has the labels {LABELS} and takes no others, got {label!r}"
        )

    @override
    def predict(self, docs: Iterable[Doc]) -> Any:
        return best_columns(self, docs)

    @override
    def set_annotations(self, docs: Iterable[Doc], scores: Any) -> None:
        for doc, columns in zip(docs, scores, strict=True):
            starts = numpy.where(columns == START, 1, -1)
            starts[:1] = 1
            ids = starts.astype(numpy.int64).view(numpy.uint64)
            write_attr(doc, SENT_START, ids, overwrite=self.cfg["overwrite"])

    def probabilities(self, docs: Iterable[Doc]) -> list[Probabilities]:
        """The probability of a start, "S", and of none, "I"; the candidates are the tokens."""
        found = token_probabilities(self, docs)
        for each in found:
            each.values[:1] = [0.0, 1.0]
        return found

    @override
    def compute_loss(self, examples: Sequence[Example], logits: Any) -> Tensor:
        return token_loss(self.loss, logits, _find_starts(examples, self._skip))

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
    ) -> None:
        """Build the module.

        Raises:
            ValueError: the examples have nothing to learn from: no start of a sentence
                inside of a document, or no token known to start none.
        """
        self._begin_initialize(get_examples, nlp)
        self._check_labels_occur(get_examples())
        sample = [eg.reference for eg in islice(get_examples(), 10)]
        initialize_token_model(self, sample, step="annotate token.is_sent_start")

    def _check_labels_occur(self, examples: Iterable[Example]) -> None:
        missing = {1: "starts a sentence", -1: "starts none"}
        for example in examples:
            for value in {*read_sentence_starts(example)[1:].tolist()}:
                missing.pop(value, None)
            if not missing:
                return
        raise ValueError(
            f"{self.name!r}: after the first token of a document, which starts a sentence "
            f"anyway, the examples have no token of which is known that it "
            f"{' or that it '.join(missing.values())}: set is_sent_start (sent_starts) to True "
            "and to False, not to 0, which means unknown, and put several sentences into a "
            "document (spacy convert -n 10)"
        )


def _find_starts(examples: Sequence[Example], skip: Skip) -> Columns:
    """The column of each token's label, `UNKNOWN` where it is not known."""
    starts = numpy.concatenate([read_sentence_starts(example, skip) for example in examples])
    return numpy.select([starts == 1, starts == -1], [START, INSIDE], UNKNOWN).astype(numpy.int64)
