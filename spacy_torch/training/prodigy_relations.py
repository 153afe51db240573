"""`spacy-torch.ProdigyRelations.v1`: spans and relations that Prodigy's annotators gave."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.util import filter_spans, get_words_and_spaces

from spacy_torch.features.gold_spans import align_span, give_spans
from spacy_torch.features.relations import register_relations, set_relations
from spacy_torch.training.lines import read_jsonl

logger = logging.getLogger(__name__)

ANSWERS = ("accept", "reject", "ignore")
UNLABELLED = "SPAN"


class SpanTask(NamedTuple):
    """A span by its characters: start, end, label."""

    start: int
    end: int
    label: str


class RelationTask(NamedTuple):
    """A relation between two spans; false if the annotator rejected it."""

    head: SpanTask
    tail: SpanTask
    label: str
    is_true: bool


class Task(NamedTuple):
    """One line of a file.

    Attributes:
        line: its number.
        text: the text.
        words: its tokens, or None where the line has none.
        spans: all spans, also those that only a relation names.
        relations: None where the line says nothing about relations.
        complete: whether all relations are there.
    """

    line: int
    text: str
    words: list[str] | None
    spans: list[SpanTask]
    relations: list[RelationTask] | None
    complete: bool


class ProdigyRelationsReader:
    """Gives the examples of one file; what `[corpora.train]` resolves to.

    The reference has the file's tokens, where there are any, its spans and relations. The
    Doc that the pipeline is given has the tokens of the pipeline's tokenizer, and the spans
    that fit them. An accepted line has all relations between its spans. A rejected line with
    a single relation says that this one does not hold, and nothing else; another rejected
    line does not say what is wrong, and is skipped, as are ignored lines. A line without
    relations, as from annotating entities, is an example that trains no relation.

    Attributes:
        counts: what was left out in the last pass, by reason.
    """

    def __init__(
        self, path: Path, *, spans_key: str | None, unrelated: list[str], limit: int
    ) -> None:
        if limit < 0:
            raise ValueError(f"limit must be >= 0 (0 reads every line), got {limit}")
        register_relations()
        self.path = path
        self.spans_key = spans_key
        self.unrelated = frozenset(unrelated)
        self.limit = limit
        self.counts: Counter[str] = Counter()
        self._has_reported = False

    def __call__(self, nlp: Language) -> Iterator[Example]:
        """Yield an example per line that says something, in the order of the file."""
        self.counts = Counter()
        n_examples = 0
        for line, record in read_jsonl(self.path):
            if self.limit and n_examples == self.limit:
                break
            task = read_task(record, where=f"{self.path}, line {line}", line=line)
            if task is None:
                self.counts["lines skipped that are ignored, or rejected as a whole"] += 1
                continue
            n_examples += 1
            yield self._make_example(nlp, task)
        if not n_examples:
            raise ValueError(
                f"{self.path} has no usable lines: {self._describe() or 'it is empty'}"
            )
        if self.counts and not self._has_reported:
            self._has_reported = True
            logger.warning("%s: %s", self.path, self._describe())

    def _describe(self) -> str:
        return "; ".join(f"{n} {reason}" for reason, n in self.counts.items())

    def _make_example(self, nlp: Language, task: Task) -> Example:
        reference = self._make_doc(nlp, task)
        spans = self._find_spans(reference, task)
        if self.spans_key is not None:
            reference.spans[self.spans_key] = list(spans.values())
        else:
            entities = filter_spans(spans.values())
            reference.ents = entities
            self.counts["entities left out that overlap a longer one (set spans_key)"] += len(
                spans
            ) - len(entities)
        if task.relations is not None:
            relations = [
                (spans[head], spans[tail], label, float(is_true))
                for head, tail, label, is_true in task.relations
                if head in spans and tail in spans and label not in self.unrelated
            ]
            set_relations(reference, relations, complete=task.complete)
        example = Example(nlp.make_doc(task.text), reference)
        give_spans(example)
        self.counts["spans that do not fit the pipeline's tokens"] += sum(
            align_span(example, span.start, span.end) is None for span in spans.values()
        )
        self.counts += Counter()  # without the zeros
        return example

    def _make_doc(self, nlp: Language, task: Task) -> Doc:
        if task.words is None:
            return nlp.make_doc(task.text)
        try:
            words, spaces = get_words_and_spaces(task.words, task.text)
        except ValueError as error:
            raise ValueError(
                f"{self.path}, line {task.line}: the tokens are not those of the text: {error}"
            ) from error
        return Doc(nlp.vocab, words, spaces)

    def _find_spans(self, doc: Doc, task: Task) -> dict[SpanTask, Span]:
        found: dict[SpanTask, Span] = {}
        for place in task.spans:
            # What has no label is for spaCy no entity.
            label = place.label or (UNLABELLED if self.spans_key is None else "")
            span = doc.char_span(place.start, place.end, label=label)
            if span is None:
                self.counts["spans left out that do not begin and end with a token"] += 1
            else:
                found[place] = span
        return found


def build_prodigy_relations(
    path: str | Path,
    spans_key: str | None = None,
    unrelated: list[str] = [],  # noqa: B006  (the config needs to see the default)
    limit: int = 0,
) -> ProdigyRelationsReader:
    """Spans and relations from a JSONL file of Prodigy's relations interface.

    Args:
        path: what `prodigy db-out` wrote.
        spans_key: the group in `doc.spans` for the spans; null for `doc.ents`, where the
            longest of overlapping spans stays, and one without a label is called SPAN.
        unrelated: labels by which annotators say that two spans are not related.
        limit: read only so many lines; 0 reads all.
    """
    return ProdigyRelationsReader(
        Path(path),  # a config hands over a string
        spans_key=spans_key,
        unrelated=unrelated,
        limit=limit,
    )


def read_task(record: Mapping[str, Any], *, where: str, line: int) -> Task | None:
    """What one line says; None if it says nothing that can be used.

    Raises:
        ValueError: it is not what the interface writes; the message begins with `where`.
    """
    text, answer = record.get("text"), record.get("answer", "accept")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{where}: 'text' must be text that is not empty, got {text!r}")
    if answer not in ANSWERS:
        raise ValueError(f"{where}: 'answer' must be one of {', '.join(ANSWERS)}, got {answer!r}")
    found = record.get("relations")
    is_rejected = answer == "reject"
    if answer == "ignore" or (is_rejected and (not isinstance(found, list) or len(found) != 1)):
        return None
    words = _read_words(record, where)
    spans = [_read_span(span, text, where) for span in _read_list(record, "spans", where) or []]
    relations = None
    if found is not None:
        relations = [
            _read_relation(relation, record, text, where, is_true=not is_rejected)
            for relation in _read_list(record, "relations", where) or []
        ]
        spans += [span for relation in relations for span in (relation.head, relation.tail)]
    spans = list({(span.start, span.end): span for span in reversed(spans)}.values())[::-1]
    return Task(line, text, words, spans, _use_spans(relations, spans), not is_rejected)


def _use_spans(
    relations: list[RelationTask] | None, spans: list[SpanTask]
) -> list[RelationTask] | None:
    """The relations between the spans as they are listed, with the labels that these have."""
    if relations is None:
        return None
    listed = {(span.start, span.end): span for span in spans}
    return [
        relation._replace(
            head=listed[relation.head.start, relation.head.end],
            tail=listed[relation.tail.start, relation.tail.end],
        )
        for relation in relations
    ]


def _read_relation(
    relation: Any, record: Mapping[str, Any], text: str, where: str, *, is_true: bool
) -> RelationTask:
    if not isinstance(relation, Mapping):
        raise ValueError(f"{where}: a relation must be an object, got {relation!r}")
    label = relation.get("label")
    if not isinstance(label, str) or not label:
        raise ValueError(f"{where}: a relation must have a label, got {relation!r}")
    ends = [
        _read_span(relation[f"{end}_span"], text, where)
        if f"{end}_span" in relation
        else _find_span(relation.get(end), record, text, where)
        for end in ("head", "child")
    ]
    return RelationTask(ends[0], ends[1], label, is_true)


def _find_span(token: Any, record: Mapping[str, Any], text: str, where: str) -> SpanTask:
    """The span that a token belongs to, or else the token itself."""
    tokens = _read_list(record, "tokens", where)
    if not isinstance(token, int) or tokens is None or not 0 <= token < len(tokens):
        raise ValueError(
            f"{where}: a relation must have 'head_span' and 'child_span', or 'head' and 'child' "
            f"as numbers of the line's tokens, got {token!r}"
        )
    place = _read_span({"label": "", **tokens[token]}, text, where)
    spans = [_read_span(span, text, where) for span in _read_list(record, "spans", where) or []]
    around = (s for s in spans if s.start <= place.start and place.end <= s.end)
    return next(around, place)


def _read_span(span: Any, text: str, where: str) -> SpanTask:
    start, end = (span.get("start"), span.get("end")) if isinstance(span, Mapping) else (None, None)
    if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= len(text):
        raise ValueError(
            f"{where}: a span must have 'start' and 'end' within the {len(text)} characters of "
            f"the text, got {span!r}"
        )
    return SpanTask(start, end, str(span.get("label") or ""))


def _read_words(record: Mapping[str, Any], where: str) -> list[str] | None:
    tokens = _read_list(record, "tokens", where)
    if tokens is None:
        return None
    texts = (token.get("text") if isinstance(token, Mapping) else None for token in tokens)
    words = [text for text in texts if isinstance(text, str)]
    if len(words) != len(tokens):
        raise ValueError(f"{where}: each of 'tokens' must have a 'text'")
    return words


def _read_list(record: Mapping[str, Any], key: str, where: str) -> list[Any] | None:
    found = record.get(key)
    if found is not None and not isinstance(found, list):
        raise ValueError(f"{where}: {key!r} must be a list, got {found!r}")
    return found
