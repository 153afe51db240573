"""`torch_ner`: the entities of a text, as the best path of a conditional random field."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import numpy
import torch
from spacy.language import Language
from spacy.pipeline.ner import ner_score
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config, Model
from torch import Tensor
from typing_extensions import override

from spacy_torch.bridge.model import run_tensors
from spacy_torch.components.entity_spans import Entity, split_rows, store_scores, write_entities
from spacy_torch.components.entity_tags import find_allowed
from spacy_torch.components.gold_entities import EntityReader
from spacy_torch.components.parts import check_any_label, check_model
from spacy_torch.components.probabilities import Probabilities, list_docs
from spacy_torch.components.torch_pipe import TorchPipe
from spacy_torch.nn.structured.biluo import Spans, find_spans, keep_legal
from spacy_torch.nn.structured.chain import TagScores, allow_only
from spacy_torch.nn.structured.crf import build_lattice
from spacy_torch.nn.structured.partial import entity_loss
from spacy_torch.nn.structured.span_marginals import SpanMarginals, choose_apart
from spacy_torch.nn.structured.viterbi import best_paths

DEFAULT_MODEL = Config().from_str("""
[model]
@architectures = "spacy-torch.CRFTagger.v1"

[model.encoder]
@torch_encoders = "spacy-torch.HashEmbedCNN.v1"
""")["model"]


@Language.factory(
    "torch_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    default_config={
        "model": DEFAULT_MODEL,
        "threshold": None,
        "scores_key": None,
        "incorrect_spans_key": None,
        "scorer": {"@scorers": "spacy.ner_scorer.v1"},
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_ner(
    nlp: Language,
    name: str,
    model: Model[list[Doc], Any],
    threshold: float | None,
    scores_key: str | None,
    incorrect_spans_key: str | None,
    scorer: Callable[..., Any] | None,
) -> EntityRecognizer:
    """The entities of a text, in `doc.ents`."""
    return EntityRecognizer(
        nlp.vocab,
        model,
        name,
        threshold=threshold,
        scores_key=scores_key,
        incorrect_spans_key=incorrect_spans_key,
        scorer=scorer,
    )


class EntityRecognizer(TorchPipe):
    """Find the entities of a text: spans that do not overlap, each with a label.

    Like the stock `ner` it keeps entities that are there and tokens that are blocked, looks
    for entities in all other tokens, those annotated as outside among them, and lets none
    cross the start of a sentence. Unlike it, no entity begins or ends with white space.

    It learns from whatever is known of an example's entities, and sums over the rest; see
    `EntityReader` for what counts as known. Entities and rejected spans that cannot be learned
    are counted in `skipped`.

    Args:
        threshold: find all entities at least this probable, and nothing else; of those that
            overlap, the most probable. Below one half it finds more than there are likely to
            be, which a recognizer that is often unsure gains from: F is highest at half of
            the F that is reached (Lipton et al. 2014, https://arxiv.org/abs/1402.1892).
            Without a threshold, what is most probable on the whole, the best path.
        scores_key: also put the entities found into `doc.spans` under this key, with their
            probabilities in `attrs["scores"]`, as `spancat` does.
        incorrect_spans_key: the group in the reference's `spans` that holds spans which
            are not an entity of their label. What else they are stays open.

    Raises:
        TypeError, ValueError: the model is for something else, or a setting out of range.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], Any],
        name: str,
        *,
        threshold: float | None = None,
        scores_key: str | None = None,
        incorrect_spans_key: str | None = None,
        scorer: Callable[..., dict[str, Any]] | None = ner_score,
    ) -> None:
        check_model(name, model, logits_of="tag", architecture="spacy-torch.CRFTagger.v1")
        if threshold is not None and not 0.0 < threshold <= 1.0:
            raise ValueError(
                f"{name!r}: threshold must be a probability above 0, or null for the best path, "
                f"got {threshold}"
            )
        super().__init__(
            vocab,
            model,
            name,
            scorer=scorer,
            threshold=threshold,
            scores_key=scores_key,
            incorrect_spans_key=incorrect_spans_key,
        )

    @override
    def predict(self, docs: Iterable[Doc]) -> list[list[Entity]]:
        docs = list(docs)
        spans, probabilities = self._find(self._score(docs))
        found = [part.cpu().numpy() for part in spans]
        sure = probabilities.cpu().numpy()
        numbers, starts, ends = split_rows(docs, found[0], found[1])
        entities: list[list[Entity]] = [[] for _ in docs]
        rows = (part.tolist() for part in (numbers, starts, ends, found[2], sure))
        for number, *entity in zip(*rows, strict=True):
            entities[number].append(Entity(*entity))
        return entities

    @override
    def set_annotations(self, docs: Iterable[Doc], scores: list[list[Entity]]) -> None:
        ids = [self.vocab.strings[label] for label in self.labels]
        key = self.cfg["scores_key"]
        for doc, entities in zip(docs, scores, strict=True):
            added = write_entities(doc, entities, ids)
            if key is not None:
                store_scores(doc, key, added)

    def probabilities(self, docs: Iterable[Doc], *, floor: float = 0.05) -> list[Probabilities]:
        """The probability that a span is an entity, for each label; the candidates are spans.

        They are those of the best path, and all that are at least as probable as `floor`
        for any label, in the order of the text. The probabilities are exact: a span's are
        the share of the paths that have it. They are given what `predict` is given, such as
        entities that are there already.

        Raises:
            ValueError: the floor is not above 0.
        """
        docs = list_docs(docs, name=self.name)
        chain = self._score(docs)
        marginals = SpanMarginals(build_lattice(*chain))
        best, likely = find_spans(best_paths(*chain)), marginals.likely(floor)
        bounds = torch.stack([torch.cat(pair) for pair in zip(best, likely, strict=True)][:2], 1)
        bounds = torch.unique(bounds, dim=0)  # sorted
        n_labels = len(self.labels)
        labels = torch.arange(n_labels, device=bounds.device).repeat(len(bounds))
        cells = bounds.repeat_interleave(n_labels, dim=0)
        values = marginals(Spans(cells[:, 0], cells[:, 1], labels)).float().view(-1, n_labels)
        rows = bounds.cpu().numpy()
        numbers, starts, ends = split_rows(docs, rows[:, 0], rows[:, 1])
        cuts = numpy.searchsorted(numbers, numpy.arange(len(docs) + 1))
        table = values.cpu().numpy()
        return [
            Probabilities(
                [doc[s:e] for s, e in zip(starts[a:b].tolist(), ends[a:b].tolist(), strict=True)],
                self.labels,
                table[a:b],
            )
            for doc, a, b in zip(docs, cuts[:-1], cuts[1:], strict=True)
        ]

    def token_probabilities(self, docs: Iterable[Doc]) -> list[Probabilities]:
        """The probability that a token is in an entity, for each label; candidates are tokens.

        The first column, "", is for being in none. Each row sums to one.
        """
        docs = list(docs)
        tags = SpanMarginals(build_lattice(*self._score(docs))).tags
        by_label = tags[:, 1:].unflatten(1, (len(self.labels), -1)).sum(2)
        table = torch.cat([tags[:, :1], by_label], 1).float().cpu().numpy()
        ends = numpy.cumsum([len(doc) for doc in docs])
        parts = numpy.split(table, ends[:-1]) if docs else []
        return [
            Probabilities(list(doc), ("", *self.labels), part)
            for doc, part in zip(docs, parts, strict=True)
        ]

    @override
    def compute_loss(self, examples: Sequence[Example], logits: Any) -> Tensor:
        reader = EntityReader(self._label_numbers(), self.cfg["incorrect_spans_key"], self._skip)
        targets = reader.read(examples)
        device = logits.emissions.values.device
        rejected = None
        if len(targets.rejected):
            rejected = Spans(*torch.from_numpy(targets.rejected).to(device).unbind(1))
        return entity_loss(logits, torch.from_numpy(targets.tags).to(device), rejected)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        labels: Iterable[str] | None = None,
    ) -> None:
        """Take the labels from the entities in the examples, or as given; build the module.

        Raises:
            ValueError: there is no label.
        """
        self._begin_initialize(get_examples, nlp)
        self._add_labels(labels, lambda: _find_labels(get_examples()))
        sample = [eg.reference for eg in islice(get_examples(), 10)]
        check_any_label(self.name, self.labels, step="annotate doc.ents in the training examples")
        self.model.initialize(X=sample, Y=len(self.labels))
        self.note_labels()

    def _find(self, chain: TagScores) -> tuple[Spans, Tensor]:
        """The entities to write, and their probabilities: NaN if nobody asks for them."""
        threshold = self.cfg["threshold"]
        if threshold is None and self.cfg["scores_key"] is None:
            spans = find_spans(best_paths(*chain))
            return spans, torch.full(spans.starts.shape, math.nan)
        marginals = SpanMarginals(build_lattice(*chain))
        if threshold is None:
            spans = find_spans(best_paths(*chain))
            return spans, marginals(spans)
        spans = marginals.likely(threshold)
        probabilities = marginals(spans)
        chosen = choose_apart(spans, probabilities)
        return Spans(*(part[chosen] for part in spans)), probabilities[chosen]

    def _label_numbers(self) -> dict[int, int]:
        return {self.vocab.strings[label]: number for number, label in enumerate(self.labels)}

    def _score(self, docs: Sequence[Doc]) -> TagScores:
        """The scores of all tags that each token may get."""
        scores, _ = run_tensors(self.logits_model, docs, is_train=False)
        emissions, transitions = scores
        emissions = emissions._replace(values=emissions.values.float())
        allowed = find_allowed(docs, self._label_numbers())
        if allowed is not None:
            mask = torch.from_numpy(allowed).to(emissions.values.device)
            emissions = allow_only(emissions, mask)
        return TagScores(emissions, keep_legal(transitions))


def _find_labels(examples: Iterable[Example]) -> list[str]:
    return sorted({entity.label_ for eg in examples for entity in eg.reference.ents})
