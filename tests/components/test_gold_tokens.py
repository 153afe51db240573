"""The gold attributes of predicted tokens, held against spaCy's own alignment."""

import numpy
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.attrs import POS, TAG
from spacy.tokens import Doc
from spacy.training import Example

from spacy_torch.components.gold_tokens import (
    UNKNOWN,
    find_columns,
    read_aligned,
    read_sentence_starts,
)

vocab = spacy.blank("en").vocab
TAGS = ["A", "B", ""]


@st.composite
def examples(draw) -> Example:
    """The same letters, cut into tokens in two ways."""
    letters = draw(st.text("xyz", min_size=1, max_size=8))

    def cut() -> list[str]:
        ends = draw(st.sets(st.integers(1, len(letters) - 1))) if len(letters) > 1 else set()
        bounds = [0, *sorted(ends), len(letters)]
        return [letters[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]

    words = cut()
    tags = [draw(st.sampled_from(TAGS)) for _ in words]
    starts = [True, *[draw(st.booleans()) for _ in words[1:]]]
    spaces = [False] * len(words)
    reference = Doc(vocab, words, spaces=spaces, tags=tags, sent_starts=starts)
    found = cut()
    return Example(Doc(vocab, found, spaces=[False] * len(found)), reference)


@given(examples())
def test_gold_values_are_those_that_spacy_aligns(example):
    values, known = read_aligned(example, [TAG])
    expected = example.get_aligned("TAG")
    assert [int(v) if k else None for (v,), k in zip(values, known, strict=True)] == expected


@given(st.lists(examples(), max_size=3))
def test_columns_are_those_of_the_gold_tags(batch):
    columns = {(vocab.strings[tag],): column for column, tag in enumerate("AB")}
    expected = [
        "AB".index(tag) if tag else UNKNOWN
        for example in batch
        for tag in example.get_aligned("TAG", as_string=True)
    ]
    assert find_columns(batch, [TAG], columns).tolist() == expected


def test_attributes_are_known_only_where_all_of_them_agree():
    reference = Doc(vocab, ["a", "b"], spaces=[False] * 2, tags=["A", "A"], pos=["NOUN", "VERB"])
    example = Example(Doc(vocab, ["ab"], spaces=[False]), reference)
    assert read_aligned(example, [TAG])[1].tolist() == [True]
    values, known = read_aligned(example, [TAG, POS])
    assert known.tolist() == [False]
    numpy.testing.assert_array_equal(values, [[0, 0]])


@given(examples())
def test_sentences_start_at_the_letters_where_those_of_the_reference_do(example):
    letters = {token.idx for token in example.reference if token.is_sent_start}

    def expected(token) -> int:
        if token.idx in letters:
            return 1
        starts_inside = any(token.idx < letter < token.idx + len(token) for letter in letters)
        return 0 if starts_inside else -1

    starts = read_sentence_starts(example).tolist()
    assert starts == [expected(token) for token in example.predicted]


def test_sentence_starts_that_are_not_known_stay_unknown():
    def starts_of(words: list[str], starts: list[int], found: list[str]) -> list[int]:
        reference = Doc(vocab, words, spaces=[False] * len(words), sent_starts=starts)
        predicted = Doc(vocab, found, spaces=[False] * len(found))
        return read_sentence_starts(Example(predicted, reference)).tolist()

    assert starts_of(["a", "b", "c"], [1, 0, -1], ["a", "b", "c"]) == [1, 0, -1]
    assert starts_of(["a", "b", "c"], [1, 0, -1], ["a", "bc"]) == [1, 0]
    assert starts_of(["a", "b", "c"], [1, -1, 0], ["a", "bc"]) == [1, 0]
    # Of a reference without sentences, spaCy marks the first token all the same.
    assert starts_of(["a", "b", "c"], [1, 0, 0], ["a", "b", "c"]) == [0, 0, 0]
