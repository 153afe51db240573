"""What the references of a batch say of its candidate pairs."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence

import numpy
from numpy.typing import NDArray
from spacy.tokens import Span
from spacy.training import Example

from spacy_torch.features.gold_spans import align_span
from spacy_torch.features.relations import Relation, get_relations, has_all_relations
from spacy_torch.features.span_pairs import Pair

Targets = NDArray[numpy.float32]

Place = tuple[int, int, int, int]

logger = logging.getLogger(__name__)


class RelationTargets:
    """Reads the truth of candidate pairs; says once what it cannot use, and counts it.

    Args:
        seed: of the draws among unrelated pairs.

    Attributes:
        unreachable: how many gold relations connected spans that were no candidates.
        misaligned: how many had a span that does not begin and end with a token.
        unknown_labels: the labels of gold relations that are not the component's.
    """

    def __init__(self, seed: int) -> None:
        self._generator = numpy.random.default_rng(seed)
        self.unreachable = 0
        self.misaligned = 0
        self.unknown_labels: set[str] = set()

    def read(
        self,
        examples: Sequence[Example],
        pairs: Sequence[Sequence[Pair]],
        *,
        labels: tuple[str, ...],
        exclusive: bool,
        negative_rate: float,
        name: str,
    ) -> Targets:
        """The truth as 1, 0 and NaN where it is not known, shape (pair, column).

        Exclusive labels have a first column for unrelated spans. Two gold relations of one
        pair are then one of the two, and a pair whose only relations have unknown labels is
        unknown. Labels that do not exclude each other are known whatever else there is.

        Of several pairs of the same tokens, a gold relation is of those that have most of its
        spans' labels.

        Args:
            examples: a batch.
            pairs: the candidates of each of its predicted Docs.
            negative_rate: the share of unrelated pairs to keep; the others become unknown.
            name: the component's, for the log.
        """
        first = int(exclusive)
        n_columns = len(labels) + first
        columns = {label: index + first for index, label in enumerate(labels)}
        parts = [
            self._read_one(example, found, columns, n_columns, exclusive, name)
            for example, found in zip(examples, pairs, strict=True)
        ]
        targets = numpy.concatenate(parts) if parts else numpy.zeros((0, n_columns), "float32")
        if negative_rate < 1.0:
            negative = targets[:, 0] == 1 if exclusive else (targets == 0).all(axis=1)
            dropped = self._generator.random(len(targets)) >= negative_rate
            targets[negative & dropped] = numpy.nan
        return targets

    def _read_one(
        self,
        example: Example,
        pairs: Sequence[Pair],
        columns: dict[str, int],
        n_columns: int,
        exclusive: bool,
        name: str,
    ) -> Targets:
        is_complete = has_all_relations(example.reference)
        targets = numpy.full((len(pairs), n_columns), 0 if is_complete else numpy.nan, "float32")
        rows: dict[Place, list[int]] = defaultdict(list)
        for row, (head, tail) in enumerate(pairs):
            rows[_place(head, tail)].append(row)
        foreign: list[int] = []
        for relation in get_relations(example.reference):
            head = align_span(example, relation.head.start, relation.head.end)
            tail = align_span(example, relation.tail.start, relation.tail.end)
            if head is None or tail is None:
                self._note_misaligned(name)
                continue
            found = _most_alike(pairs, rows.get(_place(head, tail), []), relation)
            column = columns.get(relation.label)
            is_true = relation.score > 0
            if not found:
                self._note_unreachable(head, tail, name, counts=is_true)
            elif column is None:
                self._note_unknown_label(relation.label, name, counts=is_true)
                if is_true:
                    foreign += found
            else:
                targets[found, column] = float(is_true)
        if exclusive:
            positive = (targets == 1).any(axis=1)
            targets[positive] = numpy.nan_to_num(targets[positive], nan=0.0)
            # Related, but not in a way that can be learned.
            targets[[row for row in foreign if not positive[row]]] = numpy.nan
        if exclusive and is_complete:
            targets[:, 0] = numpy.where((targets == 0).all(axis=1), 1.0, targets[:, 0])
        return targets

    def _note_unreachable(self, head: Span, tail: Span, name: str, *, counts: bool) -> None:
        self.unreachable += counts
        if counts and self.unreachable == 1:
            logger.warning(
                "%r: a gold relation from %r to %r connects spans that are no candidates, and "
                "trains nothing, like all such: see what [model.candidates] leaves out, and "
                "whether the spans are those that it reads.",
                name,
                head.text,
                tail.text,
            )

    def _note_misaligned(self, name: str) -> None:
        self.misaligned += 1
        if self.misaligned == 1:
            logger.warning(
                "%r: a gold relation has a span that does not begin and end with a token of the "
                "pipeline's tokenizer, and trains nothing, like all such.",
                name,
            )

    def _note_unknown_label(self, label: str, name: str, *, counts: bool) -> None:
        if counts and label not in self.unknown_labels:
            self.unknown_labels.add(label)
            logger.warning(
                "%r does not know the label %r of a gold relation and learns nothing from it: "
                "call add_label(%r) first.",
                name,
                label,
                label,
            )


def _place(head: Span, tail: Span) -> Place:
    return head.start, head.end, tail.start, tail.end


def _most_alike(pairs: Sequence[Pair], rows: list[int], relation: Relation) -> list[int]:
    """Those of the rows whose pairs have most of the labels of the relation's two spans."""
    if len(rows) < 2:
        return rows
    wanted = relation.head.label, relation.tail.label
    alike = [
        sum(span.label_ == label for span, label in zip(pairs[row], wanted, strict=True))
        for row in rows
    ]
    return [row for row, n in zip(rows, alike, strict=True) if n == max(alike)]
