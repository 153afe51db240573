"""`torch_parser`: the head and the label of each token, and the sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple, cast

import numpy
import torch
from numpy.typing import NDArray
from spacy.attrs import DEP, HEAD, SENT_START
from spacy.language import Language
from spacy.pipeline.dep_parser import parser_score
from spacy.tokens import Doc
from spacy.training import Example
from spacy.vocab import Vocab
from thinc.api import Config, Model
from torch import Tensor
from typing_extensions import override

from spacy_torch.bridge.model import run_tensors
from spacy_torch.components.gold_parse import read_parses
from spacy_torch.components.parts import check_any_label, check_model
from spacy_torch.components.probabilities import Probabilities, list_docs
from spacy_torch.components.sentences import Rows, Sentences, split_sentences
from spacy_torch.components.torch_pipe import TorchPipe
from spacy_torch.nn.structured.arcs import SentenceBatch, batch_sentences
from spacy_torch.nn.structured.parses import arc_loss, find_arcs, label_loss, start_loss

# The label of a root, which spaCy's converters use and which no other arc gets.
ROOT = "ROOT"
# The label of whitespace.
SPACE = "dep"

DEFAULT_MODEL = Config().from_str("""
[model]
@architectures = "spacy-torch.BiaffineParser.v1"

[model.encoder]
@torch_encoders = "spacy-torch.HashEmbedCNN.v1"
""")["model"]


@Language.factory(
    "torch_parser",
    assigns=["token.dep", "token.head", "token.is_sent_start", "doc.sents"],
    default_config={
        "model": DEFAULT_MODEL,
        "scorer": {"@scorers": "spacy.parser_scorer.v1"},
    },
    default_score_weights={
        "dep_uas": 0.5,
        "dep_las": 0.5,
        "dep_las_per_type": None,
        "sents_p": None,
        "sents_r": None,
        "sents_f": 0.0,
    },
)
def make_parser(
    nlp: Language,
    name: str,
    model: Model[list[Doc], Any],
    scorer: Callable[..., Any] | None,
) -> Parser:
    """A dependency tree for each sentence, in `token.head` and `token.dep_`."""
    return Parser(nlp.vocab, model, name, scorer=scorer)


class Parse(NamedTuple):
    """The parse of one document.

    Attributes:
        heads: the position of each token's head, its own for a root.
        labels: the id of each token's label.
        starts: 1 for the first token of a sentence, -1 for others.
    """

    heads: Rows
    labels: NDArray[numpy.uint64]
    starts: Rows


class Parser(TorchPipe):
    """Find sentences, and a tree with one root over each.

    Sentences come first: by the module's score of each token as a first one, where the
    document does not say so already, and none longer than 1,000 words. Each is then parsed on
    its own, so that a long document costs no more than its sentences. Trees may be
    non-projective. Whitespace is no part of them: it hangs on the word before it.

    Gold heads that are no single tree over their sentence train nothing, nor do tokens
    without a gold head, or whose head or themselves are split differently in the reference. An
    arc whose label is none of the component's is learned without it. All that is counted in
    `skipped`.

    Raises:
        TypeError, ValueError: the model is for something else.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: Model[list[Doc], Any],
        name: str,
        *,
        scorer: Callable[..., dict[str, Any]] | None = parser_score,
    ) -> None:
        check_model(name, model, logits_of="arc", architecture="spacy-torch.BiaffineParser.v1")
        super().__init__(vocab, model, name, scorer=scorer)

    @override
    def predict(self, docs: Iterable[Doc]) -> list[Parse]:
        docs = list(docs)
        logits, sentences, batches = self._read(docs)
        arcs = find_arcs(logits, batches)
        columns = self._label_scores(logits, arcs.dependents, arcs.heads).argmax(1)
        ids = numpy.array([self.vocab.strings[label] for label in self.labels], dtype="uint64")
        n_tokens = len(sentences.is_start)
        heads = numpy.arange(n_tokens)
        labels = numpy.full(n_tokens, self.vocab.strings.add(SPACE), dtype="uint64")
        spaces, heads_of_spaces = sentences.attach_whitespace()
        heads[spaces] = heads_of_spaces
        labels[spaces[spaces == heads_of_spaces]] = self.vocab.strings.add(ROOT)
        dependents = arcs.dependents.cpu().numpy()
        heads[dependents] = arcs.heads.cpu().numpy()
        labels[dependents] = ids[columns.cpu().numpy()]
        starts = numpy.where(sentences.is_start, 1, -1)
        ends = numpy.cumsum([len(doc) for doc in docs], dtype=numpy.int64)
        return [
            Parse(heads[end - len(doc) : end] - (end - len(doc)), *parts)
            for doc, end, *parts in zip(
                docs, ends, _split(labels, ends), _split(starts, ends), strict=True
            )
        ]

    @override
    def set_annotations(self, docs: Iterable[Doc], scores: Iterable[Parse]) -> None:
        for doc, parse in zip(docs, scores, strict=True):
            if not len(doc):
                continue
            offsets = (parse.heads - numpy.arange(len(doc))).astype(numpy.uint64)
            arcs = numpy.stack([offsets, parse.labels], axis=1)
            doc.from_array([HEAD, DEP], cast("Any", arcs))
            # spaCy finds the same by the roots, except where arcs cross many times over.
            doc.from_array([SENT_START], cast("Any", parse.starts.astype(numpy.uint64)))

    def probabilities(self, docs: Iterable[Doc]) -> list[Probabilities]:
        """The probability of each label for each arc of the parse.

        The candidates are the pairs `(token, head)` that `predict` chooses, whitespace left
        out; a root's head is the token itself. The values of a row add up to the probability
        of this head among the tokens of the sentence.
        """
        docs = list_docs(docs, name=self.name)
        logits, sentences, batches = self._read(docs)
        arcs = find_arcs(logits, batches)
        scores = self._label_scores(logits, arcs.dependents, arcs.heads)
        values = (scores.log_softmax(1) + arcs.log_probs.unsqueeze(1)).exp().cpu().numpy()
        dependents, heads = arcs.dependents.cpu().numpy(), arcs.heads.cpu().numpy()
        order = dependents.argsort()
        found: list[Probabilities] = []
        start = 0
        for doc in docs:
            end = start + len(doc)
            first, last = numpy.searchsorted(dependents[order], [start, end])
            of_doc = order[first:last]
            pairs = zip(dependents[of_doc] - start, heads[of_doc] - start, strict=True)
            candidates = [(doc[int(token)], doc[int(head)]) for token, head in pairs]
            found.append(Probabilities(candidates, self.labels, values[of_doc]))
            start = end
        return found

    @override
    def compute_loss(self, examples: Sequence[Example], logits: Any) -> Tensor:
        columns = {self.vocab.strings[label]: i for i, label in enumerate(self.labels)}
        gold = read_parses(examples, columns, self._skip)
        device = logits.roots.device
        heads = torch.from_numpy(gold.heads).to(device)
        labels = torch.from_numpy(gold.labels).to(device)
        batches = _batch(gold.sentences, device)
        return (
            arc_loss(logits, batches, heads)
            + label_loss(logits, heads, labels)
            + start_loss(logits, torch.from_numpy(gold.starts).to(device))
        )

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
        step = "annotate token.head and token.dep in the training examples"
        check_any_label(self.name, self.labels, step=step)
        sample = [eg.reference for eg in islice(get_examples(), 10)]
        self.model.initialize(X=sample, Y=len(self.labels))
        self.note_labels()

    def _read(self, docs: list[Doc]) -> tuple[Any, Sentences, list[SentenceBatch]]:
        """The logits of a batch, and what is parsed on its own."""
        logits, _ = run_tensors(self.logits_model, docs, is_train=False)
        logits = type(logits)(*(factor.detach().float() for factor in logits))
        sentences = split_sentences(docs, logits.starts.cpu().numpy())
        return logits, sentences, _batch(sentences, logits.roots.device)

    def _label_scores(self, logits: Any, dependents: Tensor, heads: Tensor) -> Tensor:
        scores = logits.score_labels(dependents, heads)
        if ROOT in self.labels and len(self.labels) > 1:
            scores[dependents != heads, self.labels.index(ROOT)] = -torch.inf
        return scores


def _batch(sentences: Sentences, device: torch.device) -> list[SentenceBatch]:
    rows = torch.from_numpy(sentences.rows).to(device)
    return batch_sentences(rows, sentences.lengths.tolist())


def _split(rows: NDArray[Any], ends: Rows) -> list[NDArray[Any]]:
    """The part of each document."""
    return numpy.split(rows, ends[:-1]) if len(ends) else []


def _find_labels(examples: Iterable[Example]) -> list[str]:
    found: set[int] = set()
    strings = None
    for example in examples:
        strings = example.reference.vocab.strings
        found.update(example.reference.to_array([DEP]).reshape(-1).tolist())
    return sorted(strings[dep] for dep in found if dep) if strings is not None else []
