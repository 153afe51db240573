"""What the references of a batch say of its candidate pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from numpy.typing import NDArray
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_torch.components.skipped import ADD_LABEL, Skip, ignore
from spacy_torch.features.gold_spans import align_span
from spacy_torch.features.relations import Relation, get_relations, has_all_relations
from spacy_torch.features.span_pairs import Pair

Targets = NDArray[numpy.float32]

Place = tuple[int, int, int, int]

MISALIGNED = "misaligned relations"
UNREACHABLE = "relations between spans that are no candidates"
STRANGE = "relations with other labels"
STEPS = {
    MISALIGNED: "their spans do not begin and end with tokens of the prediction; look at the "
    "tokenizer",
    UNREACHABLE: "see what [model.candidates] leaves out, and whether the spans are those that it "
    "reads",
    STRANGE: ADD_LABEL,
}


class RelationTargets:
    """Reads the truth of candidate pairs.

    Args:
        seed: of the draws among unrelated pairs.
    """

    def __init__(self, seed: int) -> None:
        self._generator = numpy.random.default_rng(seed)

    @property
    def state(self) -> dict[str, Any]:
        """Where the draws are, as JSON."""
        return dict(self._generator.bit_generator.state)

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        self._generator.bit_generator.state = state

    def read(
        self,
        examples: Sequence[Example],
        pairs: Sequence[Sequence[Pair]],
        *,
        labels: tuple[str, ...],
        exclusive: bool,
        negative_rate: float,
        skip: Skip = ignore,
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
            skip: is told of the gold relations that cannot be learned.
        """
        first = int(exclusive)
        n_columns = len(labels) + first
        columns = {label: index + first for index, label in enumerate(labels)}
        parts = [
            self._read_one(example, found, columns, n_columns, exclusive, skip)
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
        skip: Skip,
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
                _tell(skip, MISALIGNED, _name(example.reference, relation))
                continue
            found = _most_alike(pairs, rows.get(_place(head, tail), []), relation)
            column = columns.get(relation.label)
            is_true = relation.score > 0
            if found and column is not None:
                targets[found, column] = float(is_true)
            elif is_true:  # of one that does not hold nothing is lost
                reason = STRANGE if found else UNREACHABLE
                _tell(skip, reason, _name(example.reference, relation))
                foreign += found
        if exclusive:
            positive = (targets == 1).any(axis=1)
            targets[positive] = numpy.nan_to_num(targets[positive], nan=0.0)
            # Related, but not in a way that can be learned.
            targets[[row for row in foreign if not positive[row]]] = numpy.nan
        if exclusive and is_complete:
            targets[:, 0] = numpy.where((targets == 0).all(axis=1), 1.0, targets[:, 0])
        return targets


def _tell(skip: Skip, reason: str, value: str) -> None:
    skip(reason, 1, value=value, step=STEPS[reason])


def _name(doc: Doc, relation: Relation) -> str:
    head, tail = (doc[ref.start : ref.end].text for ref in (relation.head, relation.tail))
    return f"{head} -> {tail} ({relation.label})"


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
