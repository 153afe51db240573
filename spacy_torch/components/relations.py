"""`torch_relations`: which of a text's entities or spans are related, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config, Model
from torch import Tensor
from typing_extensions import override

from spacy_torch.bridge.model import run_tensors
from spacy_torch.components.losses import Loss
from spacy_torch.components.parts import check_any_label, check_loss, check_model, check_serves
from spacy_torch.components.probabilities import Probabilities, list_docs
from spacy_torch.components.relation_targets import RelationTargets
from spacy_torch.components.relations_scorer import score_relations
from spacy_torch.components.torch_pipe import TorchPipe
from spacy_torch.features.gold_spans import gold_spans
from spacy_torch.features.relations import (
    get_relations,
    register_relations,
    set_relations,
)
from spacy_torch.features.span_pairs import Pair

DEFAULT_MODEL = Config().from_str("""
[model]
@architectures = "spacy-torch.RelationClassifier.v1"
exclusive_classes = true

[model.encoder]
@torch_encoders = "spacy-torch.HashEmbedCNN.v1"

[model.candidates]
@misc = "spacy-torch.EntityPairs.v1"
""")["model"]


@Language.factory(
    "torch_relations",
    assigns=["doc._.relations"],
    default_config={
        "model": DEFAULT_MODEL,
        "loss": {"@torch_losses": "spacy-torch.CrossEntropy.v1"},
        "threshold": None,
        "use_gold_spans": True,
        "negative_rate": 1.0,
        "seed": 0,
        "scorer": {"@scorers": "spacy-torch.relations_scorer.v1"},
    },
    default_score_weights={
        "rel_micro_p": None,
        "rel_micro_r": None,
        "rel_micro_f": 1.0,
        "rel_macro_p": None,
        "rel_macro_r": None,
        "rel_macro_f": None,
        "rel_f_per_type": None,
    },
)
def make_relations(
    nlp: Language,
    name: str,
    model: Model[list[Doc], Any],
    loss: Loss,
    threshold: float | None,
    use_gold_spans: bool,
    negative_rate: float,
    seed: int,
    scorer: Callable[..., Any] | None,
) -> Relations:
    """Relations between given entities or spans, in `doc._.relations`."""
    return Relations(
        nlp.vocab,
        model,
        name,
        loss=loss,
        threshold=threshold,
        use_gold_spans=use_gold_spans,
        negative_rate=negative_rate,
        seed=seed,
        scorer=scorer,
    )


class Relations(TorchPipe):
    """Relate the spans of a text, which a component before or the user has set.

    The pairs are those that the model's candidates find on the Doc. `doc._.relations` gets a
    `Relation` for each that is likely enough, in place of what was there.

    A reference without relations trains nothing; one whose relations are said to be not all
    (`set_relations(..., complete=False)`) trains what it says of the pairs it names. Gold
    relations that cannot be learned, because of their labels or because their spans do not fit
    the tokens or are no candidates, are counted in `skipped`.

    Args:
        loss: of the kind of labels that the model has.
        threshold: the least probability of a relation. None for 0.5 or, where labels are
            exclusive, for whatever is likelier than every other label and than none.
        use_gold_spans: train on the entities and span groups of the reference, as spaCy's
            `entity_linker` does, where the reference has any. If false, on those of the
            predicted Doc: set by a component named in `[training] annotating_components`, or
            by a reader. To evaluate, the predicted Doc needs spans in any case, see
            `spacy-torch.GivenSpans.v1`.
        negative_rate: the share of the unrelated pairs that train, drawn anew each time.
        seed: of these draws.

    Raises:
        TypeError, ValueError: model or loss are for something else, or a setting is out of
            its range.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], Any],
        name: str,
        *,
        loss: Loss,
        threshold: float | None = None,
        use_gold_spans: bool = True,
        negative_rate: float = 1.0,
        seed: int = 0,
        scorer: Callable[..., dict[str, Any]] | None = score_relations,
    ) -> None:
        check_model(name, model, logits_of="pair", architecture="spacy-torch.RelationClassifier.v1")
        check_loss(name, loss)
        check_serves(name, loss, exclusive=not model.attrs["multi_label"])
        rates = {"threshold": threshold, "negative_rate": negative_rate}
        for setting, rate in rates.items():
            if rate is not None and not 0.0 <= rate <= 1.0:
                raise ValueError(f"{name!r}: {setting} must be from 0 to 1, got {rate}")
        register_relations()
        super().__init__(
            vocab,
            model,
            name,
            scorer=scorer,
            threshold=threshold,
            use_gold_spans=use_gold_spans,
            negative_rate=negative_rate,
            seed=seed,
        )
        self.loss = loss
        self._targets = RelationTargets(seed)

    @property
    def exclusive(self) -> bool:
        """Whether a pair has one label at most."""
        return not self.model.attrs["multi_label"]

    @property
    @override
    def training_state(self) -> dict[str, Any]:
        return {"skipped": dict(self.skipped), "draws": self._targets.state}

    @training_state.setter
    def training_state(self, state: Mapping[str, Any]) -> None:
        self.skipped.clear()
        self.skipped.update(state["skipped"])
        self._targets.state = state["draws"]

    @override
    def predict(self, docs: Iterable[Doc]) -> list[tuple[list[Pair], NDArray[numpy.float32]]]:
        """The candidate pairs of each document, and a probability for each pair and column."""
        docs = list(docs)
        pairs = self._find_pairs(docs)
        logits, _ = run_tensors(self.logits_model, docs, is_train=False)
        values = logits.values.float()
        scores = values.softmax(1) if self.exclusive else values.sigmoid()
        ends = numpy.cumsum([len(found) for found in pairs])
        rows = numpy.split(scores.cpu().numpy(), ends[:-1]) if docs else []
        return list(zip(pairs, rows, strict=True))

    @override
    def set_annotations(self, docs: Iterable[Doc], scores: Any) -> None:
        first = int(self.exclusive)
        for doc, (pairs, rows) in zip(docs, scores, strict=True):
            found = [
                (*pairs[row], self.labels[column - first], float(rows[row, column]))
                for row, column in numpy.argwhere(self._select(rows)).tolist()
            ]
            set_relations(doc, found)

    def _select(self, rows: NDArray[numpy.float32]) -> NDArray[numpy.bool_]:
        """Which cells to write as relations."""
        threshold = self.cfg["threshold"]
        if not self.exclusive:
            return rows >= (0.5 if threshold is None else threshold)
        candidates = rows.copy()
        if threshold is not None:
            candidates[:, 0] = -1.0
        best = candidates.argmax(axis=1)
        chosen = numpy.arange(rows.shape[1]) == best[:, None]
        chosen[:, 0] = False
        return chosen & (rows >= (threshold or 0.0))

    def probabilities(self, docs: Iterable[Doc]) -> list[Probabilities]:
        """The probability of each relation; the candidates are pairs `(head, tail)` of spans.

        Where labels are exclusive, what a row lacks to 1 is the probability of no relation.
        """
        first = int(self.exclusive)
        return [
            Probabilities(pairs, self.labels, rows[:, first:])
            for pairs, rows in self.predict(list_docs(docs, name=self.name))
        ]

    @override
    def while_learning(self, examples: Sequence[Example]) -> AbstractContextManager[Any]:
        return gold_spans(examples) if self.cfg["use_gold_spans"] else nullcontext()

    @override
    def compute_loss(self, examples: Sequence[Example], logits: Any) -> Tensor:
        targets = self._targets.read(
            examples,
            self._find_pairs([eg.predicted for eg in examples]),
            labels=self.labels,
            exclusive=self.exclusive,
            negative_rate=self.cfg["negative_rate"],
            skip=self._skip,
        )
        values: Tensor = logits.values
        known = numpy.flatnonzero(~numpy.isnan(targets).all(axis=1))
        values = values.index_select(0, torch.from_numpy(known).to(values.device))
        truth = torch.from_numpy(targets[known]).to(values.device)
        return self.loss(values, truth, None, exclusive=self.exclusive)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
    ) -> None:
        """Take the labels from the examples, or as given, and build the module.

        Raises:
            ValueError: there is no label.
        """
        self._begin_initialize(get_examples, nlp)
        self._add_labels(labels, lambda: _find_labels(get_examples()))
        step = "set doc._.relations on the references of the training examples"
        check_any_label(self.name, self.labels, step=step)
        self._targets = RelationTargets(self.cfg["seed"])
        sample = [eg.reference for eg in islice(get_examples(), 10)]
        self.model.initialize(X=sample, Y=len(self.labels))
        self.note_labels()

    def _find_pairs(self, docs: Sequence[Doc]) -> list[list[Pair]]:
        return [list(self.model.attrs["candidates"](doc)) for doc in docs]


def _find_labels(examples: Iterable[Example]) -> list[str]:
    return sorted(
        {
            relation.label
            for eg in examples
            for relation in get_relations(eg.reference)
            if relation.score > 0
        }
    )
