"""What is taken over from a suggester, and what is not."""

import numpy
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.pipeline.spancat import build_ngram_range_suggester
from spacy.tokens import Doc
from thinc.types import Ragged

from spacy_torch.features.ngram_spans import build_ngram_spans
from spacy_torch.features.suggestions import Suggestions

VOCAB = spacy.blank("en").vocab
triples = st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(1, 5)).filter(
    lambda span: span[1] < span[2]
)


def make_docs(*lengths: int) -> list[Doc]:
    return [Doc(VOCAB, ["word"] * length) for length in lengths]


def make_ragged(rows, lengths) -> Ragged:
    data = numpy.array(rows, dtype="int32")
    return Ragged(data, numpy.array(lengths, dtype="int32"))


def read(spans: list[tuple[int, int, int]]) -> Suggestions:
    """Suggestions in three documents of five tokens, from (document, start, end)."""
    rows = [span[1:] for number in range(3) for span in spans if span[0] == number]
    lengths = [sum(span[0] == number for span in spans) for number in range(3)]
    rows = numpy.array(rows, dtype="int32").reshape(-1, 2)
    return Suggestions.read(make_ragged(rows, lengths), make_docs(5, 5, 5))


def columns(spans) -> list[numpy.ndarray]:
    return list(numpy.array(list(spans), dtype="int64").reshape(-1, 3).T)


def triples_of(found: Suggestions) -> list[tuple[int, int, int]]:
    arrays = (found.doc_ids, found.starts, found.ends)
    return list(zip(*(array.tolist() for array in arrays), strict=True))


@given(spans=st.lists(triples, max_size=12))
def test_distinct_suggestions_are_a_sorted_set(spans):
    assert triples_of(read(spans).distinct()) == sorted(set(spans))


@given(spans=st.lists(triples, max_size=12), wanted=st.lists(triples, max_size=6))
def test_span_is_found_in_its_row_or_not_at_all(spans, wanted):
    suggested = read(spans).distinct()
    places = triples_of(suggested)
    expected = [places.index(span) if span in places else -1 for span in wanted]
    assert suggested.find(*columns(wanted)).tolist() == expected


@given(spans=st.lists(triples, max_size=12), wanted=st.lists(triples, max_size=6))
def test_required_spans_are_added_and_marked(spans, wanted):
    found = read(spans).distinct().require(*columns(wanted))
    assert triples_of(found) == sorted({*spans, *wanted})
    assert found.required.tolist() == [span in wanted for span in triples_of(found)]
    assert found.require_all().required.all()


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(0, 7), max_size=4),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 6)).map(sorted),
)
def test_ngram_spans_are_those_of_spacy(lengths, sizes):
    docs = make_docs(*lengths)
    ours = build_ngram_spans(min_size=sizes[0], max_size=sizes[1])(docs)
    spacys = build_ngram_range_suggester(*sizes)(docs)
    assert ours.lengths.tolist() == spacys.lengths.tolist()
    found, expected = (Suggestions.read(given, docs).distinct() for given in (ours, spacys))
    assert triples_of(found) == triples_of(expected)
    assert triples_of(Suggestions.read(ours, docs)) == triples_of(found)  # sorted already


@pytest.mark.parametrize(
    ("rows", "lengths", "message"),
    [
        ([[0, 3]], [1, 0], r"gave \(0, 3\) for document 0 of the batch, which has 2 tokens"),
        ([[0, 1], [1, 1]], [1, 1], r"gave \(1, 1\) for document 1 of the batch"),
        ([[-1, 1]], [0, 1], r"gave \(-1, 1\) for document 1 of the batch"),
        ([[0, 1]], [1], r"how many spans each document has, got the lengths \[1\] for 2 doc"),
        ([[0, 1]], [2, -1], r"how many spans each document has, got the lengths \[2, -1\]"),
        ([[0, 1]], [1, 1], "for 2 documents and 1 spans"),
        ([[0, 1, 2]], [1, 0], r"integers of shape \(span, 2\).* shape \(1, 3\)"),
    ],
)
def test_spans_that_are_none_are_refused(rows, lengths, message):
    with pytest.raises(ValueError, match=message):
        Suggestions.read(make_ragged(rows, lengths), make_docs(2, 2))


def test_something_else_than_ragged_is_refused():
    with pytest.raises(TypeError, match=r"must return thinc.types.Ragged, .* got a list"):
        Suggestions.read([(0, 1)], make_docs(2))


def test_sizes_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match="got min_size = 3 and max_size = 2"):
        build_ngram_spans(min_size=3, max_size=2)
