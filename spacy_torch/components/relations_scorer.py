"""`spacy-torch.relations_scorer.v1`: how many relations were found, and how many are right."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from spacy.tokens import Doc
from spacy.training import Example

from spacy_torch.features.relations import (
    get_relations,
    has_all_relations,
    has_relations,
    register_relations,
)

logger = logging.getLogger(__name__)

# Head and tail by their characters, so that tokens may differ, and the label.
Found = tuple[int, int, int, int, str]
_DIRECTION = re.compile(r"\((?:e1,e2|e2,e1)\)$")


def make_relations_scorer(
    *,
    ignore: list[str] = [],  # noqa: B006  (the config needs to see the default)
    merge_directions: bool = False,
) -> Callable[..., dict[str, Any]]:
    """Precision, recall and F of relations: micro, macro and of each label.

    Args:
        ignore: labels that do not count.
        merge_directions: labels that end in (e1,e2) and (e2,e1) are one kind of relation,
            of which the wrong direction is wrong. With `ignore = ["Other"]`, rel_macro_f is
            the official score of SemEval-2010 Task 8.
    """
    register_relations()
    return partial(score_relations, ignore=tuple(ignore), merge_directions=merge_directions)


def score_relations(
    examples: Iterable[Example],
    *,
    ignore: tuple[str, ...] = (),
    merge_directions: bool = False,
    **_: Any,
) -> dict[str, Any]:
    """Scores of relations, in which head, tail and label must be right.

    References without relations do not count, and where they are not complete only what
    they name does. Without any reference that counts, all scores are None. The macro
    averages are over the labels that occur in references or predictions.
    """
    right, found, gold = Counter[str](), Counter[str](), Counter[str]()
    is_known = has_spans = False
    for example in examples:
        if not has_relations(example.reference):
            continue
        is_known = True
        has_spans = has_spans or bool(example.predicted.ents) or bool(example.predicted.spans)
        true = _read(example.reference, ignore, are_true=True)
        predicted = _read(example.predicted, ignore, are_true=True)
        if not has_all_relations(example.reference):
            predicted &= true | _read(example.reference, ignore, are_true=False)
        for counter, relations in ((right, true & predicted), (found, predicted), (gold, true)):
            counter.update(_kind(label, merge_directions) for *_, label in relations)
    if gold and not has_spans:
        logger.warning(
            "No relation can be found: not one of the documents to score has entities or span "
            "groups. Put a component that finds them into the pipeline, or have the gold ones "
            "given to it by the reader spacy-torch.GivenSpans.v1."
        )
    kinds = sorted(found | gold)
    by_kind = {kind: _prf(right[kind], found[kind], gold[kind]) for kind in kinds}
    micro = _prf(right.total(), found.total(), gold.total())
    scores: dict[str, Any] = {}
    for letter in "prf":
        macro = sum(prf[letter] for prf in by_kind.values()) / max(len(kinds), 1)
        scores[f"rel_micro_{letter}"] = micro[letter] if is_known else None
        scores[f"rel_macro_{letter}"] = macro if is_known else None
    scores["rel_f_per_type"] = by_kind if is_known else None
    return scores


def _read(doc: Doc, ignore: tuple[str, ...], *, are_true: bool) -> set[Found]:
    return {
        (*_characters(doc, head.start, head.end), *_characters(doc, tail.start, tail.end), label)
        for head, tail, label, score in get_relations(doc)
        if (score > 0) == are_true and label not in ignore
    }


def _characters(doc: Doc, start: int, end: int) -> tuple[int, int]:
    return doc[start].idx, doc[end - 1].idx + len(doc[end - 1])


def _kind(label: str, merge_directions: bool) -> str:
    return _DIRECTION.sub("", label) if merge_directions else label


def _prf(right: int, found: int, gold: int) -> dict[str, float]:
    precision, recall = right / max(found, 1), right / max(gold, 1)
    return {"p": precision, "r": recall, "f": 2 * right / max(found + gold, 1)}
