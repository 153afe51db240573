"""`torch_spancat`: labelled spans of a text, which may overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import numpy
from spacy.language import Language
from spacy.pipeline.spancat import Suggester, spancat_score
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config, Model
from torch import Tensor
from typing_extensions import override

from spacy_torch.bridge.model import run_tensors
from spacy_torch.components.gold_spans import GoldSpans
from spacy_torch.components.losses import Loss
from spacy_torch.components.probabilities import Probabilities, list_docs
from spacy_torch.components.skipped import Skip, ignore
from spacy_torch.components.span_groups import Overlap, choose_labels, write_groups
from spacy_torch.components.span_scores import SpanScores, span_loss
from spacy_torch.components.spancat_parts import (
    check_labels_known,
    check_parts,
    check_settings,
    run_suggester,
)
from spacy_torch.components.torch_pipe import TorchPipe
from spacy_torch.features.suggestions import Suggestions

DEFAULT_MODEL = Config().from_str("""
[model]
@architectures = "spacy-torch.SpanClassifier.v1"

[model.encoder]
@torch_encoders = "spacy-torch.HashEmbedCNN.v1"
rows = [5000, 1000, 2500, 1000]
""")["model"]


@Language.factory(
    "torch_spancat",
    assigns=["doc.spans"],
    default_config={
        "model": DEFAULT_MODEL,
        "suggester": {"@misc": "spacy-torch.NgramSpans.v1"},
        "loss": {"@torch_losses": "spacy-torch.BinaryCrossEntropy.v1"},
        "spans_key": "sc",
        "threshold": 0.5,
        "thresholds": {},
        "max_positive": None,
        "overlap": "all",
        "incorrect_spans_key": None,
        "scorer": {"@scorers": "spacy.spancat_scorer.v1"},
    },
    default_score_weights={"spans_sc_f": 1.0, "spans_sc_p": 0.0, "spans_sc_r": 0.0},
)
def make_spancat(
    nlp: Language,
    name: str,
    model: Model[Any, Any],
    suggester: Suggester,
    loss: Loss,
    spans_key: str,
    threshold: float,
    thresholds: dict[str, float],
    max_positive: int | None,
    overlap: Overlap,
    incorrect_spans_key: str | None,
    scorer: Callable[..., Any] | None,
) -> SpanCategorizer:
    """Labelled spans in `doc.spans[spans_key]`, with their scores."""
    return SpanCategorizer(
        nlp.vocab,
        model,
        name,
        suggester=suggester,
        loss=loss,
        spans_key=spans_key,
        threshold=threshold,
        thresholds=thresholds,
        max_positive=max_positive,
        overlap=overlap,
        incorrect_spans_key=incorrect_spans_key,
        scorer=scorer,
    )


class SpanCategorizer(TorchPipe):
    """Label spans of a text.

    An example whose reference has no `spans[spans_key]` is unknown and trains nothing. One
    that has it is complete: a suggested span that is not there has no label. If the `attrs` of
    that group say `{"complete": False}`, only the spans in it are known, and those that were
    rejected (`incorrect_spans_key`). Gold spans that cannot be learned from, because they are
    not suggested or do not fit the tokens, are counted in `skipped`.

    If the model has a proposer, it chooses among the suggested spans. While training, gold
    spans are always among both.

    Args:
        suggester: documents -> `Ragged` of (start, end), as for spaCy's `spancat`.
        loss: of exclusive labels if the model's are, with one more column, the first, for
            having none.
        spans_key: where the spans are read in training and written.
        threshold: the probability from which a span has a label. Of exclusive labels only
            the likeliest can have it. From 0.5 on that one is likelier than having none,
            too; a lower threshold prefers a label to none, to find more spans.
        thresholds: the same for single labels, before `threshold`.
        max_positive: how many labels a span may have; None for any number, or one where
            they are exclusive.
        overlap: which spans may share tokens: "all", only those of different labels
            ("between_labels"), or "none". The better ones stay.
        incorrect_spans_key: the group in the reference's `spans` that holds spans which do not
            have their label. Whether they have another one stays open.

    Raises:
        TypeError, ValueError: model, loss or suggester are for something else, or a setting
            is out of its range.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[Any, Any],
        name: str,
        *,
        suggester: Suggester,
        loss: Loss,
        spans_key: str = "sc",
        threshold: float = 0.5,
        thresholds: dict[str, float] | None = None,
        max_positive: int | None = None,
        overlap: Overlap = "all",
        incorrect_spans_key: str | None = None,
        scorer: Callable[..., dict[str, Any]] | None = spancat_score,
    ) -> None:
        check_parts(name, model=model, loss=loss, suggester=suggester)
        check_settings(
            name,
            spans_key=spans_key,
            threshold=threshold,
            thresholds=thresholds or {},
            max_positive=max_positive,
            overlap=overlap,
        )
        super().__init__(
            vocab,
            model,
            name,
            scorer=scorer,
            spans_key=spans_key,
            threshold=threshold,
            thresholds=dict(thresholds or {}),
            max_positive=max_positive,
            overlap=overlap,
            incorrect_spans_key=incorrect_spans_key,
        )
        self.suggester = suggester
        self.loss = loss

    @property
    def key(self) -> str:
        """Where in `doc.spans` the spans are."""
        return str(self.cfg["spans_key"])

    @property
    def exclusive(self) -> bool:
        """Whether a span has at most one label."""
        return not self.model.attrs.get("multi_label", True)

    # Predicting -------------------------------------------------------------------------

    def suggest(self, docs: Sequence[Doc]) -> Suggestions:
        """The suggester's spans, each once.

        Raises:
            TypeError, ValueError: they are no spans of these documents.
        """
        return run_suggester(self.name, self.suggester, docs, ops=self.model.ops)

    @override
    def make_inputs(self, docs: list[Doc]) -> Any:
        # All spans: old and new models are compared on the same ones, whatever a
        # proposer thinks of them.
        return docs, self.suggest(docs).require_all()

    @override
    def predict(self, docs: Iterable[Doc]) -> SpanScores:
        docs = list(docs)
        spans = self.suggest(docs)
        if not len(spans):
            return SpanScores.none(spans, n_labels=len(self.labels))
        logits, _ = run_tensors(self.logits_model, (docs, spans), is_train=False)
        return SpanScores.read(logits, exclusive=self.exclusive)

    @override
    def set_annotations(self, docs: Iterable[Doc], scores: SpanScores) -> None:
        limits = self.cfg["thresholds"]
        thresholds = [limits.get(label, self.cfg["threshold"]) for label in self.labels]
        chosen = choose_labels(
            scores.values,
            numpy.array(thresholds, dtype="float32"),
            max_positive=1 if self.exclusive else self.cfg["max_positive"],
        )
        write_groups(
            list(docs),
            scores.spans,
            scores.values,
            chosen,
            key=self.key,
            labels=self.labels,
            overlap=self.cfg["overlap"],
        )

    def probabilities(self, docs: Iterable[Doc]) -> list[Probabilities]:
        """The probability of each label; the candidates are the spans that were looked at.

        Those are the suggested ones or, with a proposer, its choice.
        """
        docs = list_docs(docs, name=self.name)
        found = self.predict(docs)
        return [
            Probabilities(list(group), self.labels, values)
            for group, values in zip(found.make_groups(docs), found.split(), strict=True)
        ]

    def set_candidates(self, docs: Iterable[Doc], *, candidates_key: str = "candidates") -> None:
        """Write the spans that would be looked at to `doc.spans[candidates_key]`, to see them."""
        docs = list(docs)
        for doc, group in zip(docs, self.predict(docs).make_groups(docs), strict=True):
            doc.spans[candidates_key] = group

    # Learning ---------------------------------------------------------------------------

    @override
    def make_training_inputs(self, examples: Sequence[Example]) -> Any:
        docs = [eg.predicted for eg in examples]
        gold = self._read_gold(examples, skip=self._skip)
        # All documents are read, since a shared tok2vec expects the batch as it was; but no
        # span is looked at where nothing is known.
        known = [doc for doc, is_known in zip(docs, gold.known, strict=True) if is_known]
        spans = self.suggest(known).spread(gold.known)
        if self.model.attrs.get("has_proposer"):
            spans = spans.require(gold.doc_ids, gold.starts, gold.ends)
        else:
            gold.find(spans, skip=self._skip)
        # Without spans there is nothing to learn, but a shared tok2vec steps only after all
        # that listen to it have answered.
        return (docs, spans) if len(spans) or self.logits_model.layers else None

    @override
    def compute_loss(self, examples: Sequence[Example], logits: Any) -> Tensor:
        # What is skipped was counted when the batch was made.
        gold = self._read_gold(examples, skip=ignore)
        return span_loss(
            self.loss, logits, gold, n_labels=len(self.labels), exclusive=self.exclusive
        )

    def _read_gold(self, examples: Sequence[Example], *, skip: Skip) -> GoldSpans:
        columns = {label: column for column, label in enumerate(self.labels)}
        rejected_key = self.cfg.get("incorrect_spans_key")  # not in what older versions saved
        return GoldSpans.read(examples, self.key, columns, rejected_key=rejected_key, skip=skip)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
    ) -> None:
        """Take the labels from the examples, or as given, and build the module.

        Raises:
            ValueError: there is no label, or a threshold is of something else than a label.
        """
        self._begin_initialize(get_examples, nlp)
        self._add_labels(labels, lambda: _find_labels(get_examples(), self.key))
        check_labels_known(self.name, self.labels, self.cfg["thresholds"], key=self.key)
        sample = [eg.reference for eg in islice(get_examples(), 10)]
        nothing = Suggestions.none(len(sample))
        truth = numpy.zeros((0, len(self.labels)), dtype="float32")
        self.model.initialize(X=(sample, nothing), Y=truth)
        self.note_labels()


def _find_labels(examples: Iterable[Example], key: str) -> list[str]:
    groups = (eg.reference.spans[key] for eg in examples if key in eg.reference.spans)
    return sorted({span.label_ for group in groups for span in group if span.label_})
