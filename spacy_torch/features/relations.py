"""Relations between spans, kept with the Doc and read as `doc._.relations`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

from spacy.tokens import Doc

EXTENSION = "relations"
# What stands in `doc.user_data`: a tuple of numbers and strings, never one of our classes, so
# that every way in which spaCy stores a Doc can store it, and reads it where we are not installed.
_KEY = "spacy_torch.relations"
SpanRow = tuple[int, int, str]


class SpanRef(NamedTuple):
    """A span by its place in the Doc: `doc[ref.start : ref.end]`.

    Attributes:
        start: its first token.
        end: the token after its last.
        label: of the entity or span; "" for none.
    """

    start: int
    end: int
    label: str = ""


class Relation(NamedTuple):
    """What connects one span with another, as `doc._.relations` gives it; immutable.

    Attributes:
        head: where the relation comes from.
        tail: where it leads.
        label: the kind of relation.
        score: its probability, 1.0 in a gold annotation. A gold relation with 0.0 says that
            these spans are *not* so related, for annotation that leaves the rest open.
    """

    head: SpanRef
    tail: SpanRef
    label: str
    score: float = 1.0


def register_relations() -> None:
    """Make `doc._.relations` available, as a tuple of `Relation` that can be assigned anew.

    Components, readers and scorers of relations call this themselves; whoever only loads
    documents that have relations calls it once. To call it again changes nothing.

    The relations are saved with the Doc wherever `doc.user_data` is: `Doc.to_bytes`,
    `Doc.to_disk`, `DocBin(store_user_data=True)`, pickle, `Doc.copy`, `nlp.pipe(n_process=2)`.
    `Span.as_doc` and `Doc.from_docs` do not carry them over, and a Doc whose tokens were
    merged or split afterwards refuses to give them.

    Raises:
        ValueError: someone else has registered an extension of this name.
    """
    if Doc.has_extension(EXTENSION):
        if Doc.get_extension(EXTENSION)[2] is not get_relations:
            raise ValueError(
                f"doc._.{EXTENSION} is an extension of someone else's: remove it with "
                f"Doc.remove_extension({EXTENSION!r}) before making a component, reader or "
                "scorer of relations"
            )
        return
    Doc.set_extension(EXTENSION, getter=get_relations, setter=set_relations)


def get_relations(doc: Doc) -> tuple[Relation, ...]:
    """The relations of a document; none if nobody has set any.

    Raises:
        ValueError: the document's tokens were merged or split since.
    """
    n_tokens, _, rows = doc.user_data.get(_KEY, (len(doc), True, ()))
    if n_tokens != len(doc):
        raise ValueError(
            f"the relations were set when the Doc had {n_tokens} tokens, now it has {len(doc)}: "
            "retokenize before the relations are set, or set them anew"
        )
    return tuple(
        Relation(SpanRef(*head), SpanRef(*tail), label, score) for head, tail, label, score in rows
    )


def set_relations(doc: Doc, relations: Iterable[Sequence[Any]], *, complete: bool = True) -> None:
    """Replace the relations of a document.

    Args:
        relations: each a `Relation`, or what it consists of in any sequence, as JSON has it.
            Head and tail may be a `Span`, and a score of 1 may be left out.
        complete: there are no others. If false, a pair of spans that is not named here is
            not known to be unrelated, and trains nothing.

    Raises:
        TypeError: a relation does not consist of spans, label and score.
        ValueError: a span lies outside the document or is empty, a label is empty, or a
            score is no probability.
    """
    rows = tuple(_to_row(doc, relation) for relation in relations)
    doc.user_data[_KEY] = (len(doc), bool(complete), rows)


def has_relations(doc: Doc) -> bool:
    """Whether relations were set, be it none at all: otherwise nothing is known of them."""
    return _KEY in doc.user_data


def has_all_relations(doc: Doc) -> bool:
    """Whether relations were set and spans without one are known to be unrelated."""
    return _KEY in doc.user_data and bool(doc.user_data[_KEY][1])


def _to_row(doc: Doc, relation: Sequence[Any]) -> tuple[Any, ...]:
    head, tail, label, score = _to_parts(relation)
    for start, end, _ in (head, tail):
        if not 0 <= start < end <= len(doc):
            raise ValueError(
                f"a span of a relation must be within the Doc's {len(doc)} tokens and not empty, "
                f"got start {start} and end {end} in {relation!r}"
            )
    if not label:
        raise ValueError(f"the label of a relation must not be empty: {relation!r}")
    if not 0.0 <= score <= 1.0:
        raise ValueError(
            f"the score of a relation must be a probability from 0 to 1, got {score} in "
            f"{relation!r}"
        )
    return head, tail, label, score


def _to_parts(relation: Sequence[Any]) -> tuple[SpanRow, SpanRow, str, float]:
    try:
        head, tail, label, score = (*relation, 1.0) if len(relation) == 3 else relation
        if isinstance(label, str):
            return _to_span_row(head), _to_span_row(tail), label, float(score)
    except (TypeError, ValueError):
        pass
    raise TypeError(
        "a relation must be Relation(head, tail, label, score), head and tail a Span or "
        f"(start, end, label), got {relation!r}"
    )


def _to_span_row(span: Any) -> SpanRow:
    if hasattr(span, "label_"):
        return span.start, span.end, cast("str", span.label_)
    start, end, label = (*span, "") if len(span) == 2 else span
    if not isinstance(label, str):
        raise TypeError("the label of a span is text")
    return int(start), int(end), label
