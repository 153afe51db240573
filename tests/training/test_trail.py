"""Checksums notice other data, and nothing else."""

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_torch.training.checkpoint import CheckpointError
from spacy_torch.training.trail import Trail, checksum

VOCAB = spacy.blank("en").vocab


def make_example(words, **annotation):
    doc = Doc(VOCAB, words=words, **annotation)
    return Example(Doc(VOCAB, words=words), doc)


EXAMPLES = [make_example([letter, "b"]) for letter in "abcdefgh"]


def with_cats(cats):
    example = make_example(["a", "b"])
    example.reference.cats = cats
    return example


def with_span(start, label):
    example = make_example(["a", "b"])
    doc = example.reference
    doc.spans["sc"] = [Span(doc, start, 2, label)]
    return example


def add_all(trail, examples):
    for example in examples:
        trail.add([example])


DIFFERENT = [
    make_example(["a", "b"]),
    make_example(["a", "c"]),
    make_example(["a", "b"], spaces=[False, False]),
    make_example(["a", "b"], tags=["X", "Y"]),
    make_example(["a", "b"], tags=["Y", "X"]),
    make_example(["a", "b"], heads=[0, 0], deps=["R", "x"]),
    make_example(["a", "b"], heads=[1, 1], deps=["x", "R"]),
    make_example(["a", "b"], ents=["B-X", "O"]),
    make_example(["a", "b"], ents=["B-X", "I-X"]),
    make_example(["a", "b"], lemmas=["a", "c"]),
    with_cats({"A": 1.0}),
    with_cats({"A": 0.5}),
    with_span(0, "A"),
    with_span(1, "A"),
    with_span(0, "B"),
]


def test_whatever_differs_in_an_example_changes_its_checksum():
    assert len({checksum(example) for example in DIFFERENT}) == len(DIFFERENT)


def test_same_example_has_the_same_checksum_in_another_vocabulary():
    doc = Doc(spacy.blank("de").vocab, words=["a", "b"])
    assert checksum(Example(doc.copy(), doc)) == checksum(make_example(["a", "b"]))


@given(st.permutations(EXAMPLES), st.sampled_from([1, 2, 4]))
def test_order_in_a_batch_does_not_count_and_parts_are_added_up(examples, n_parts):
    whole, parts = Trail(), Trail(remembers=True)
    whole.add(EXAMPLES)
    for start in range(0, 8, 8 // n_parts):
        parts.add_part(examples[start : start + 8 // n_parts])
    parts.end_batch()
    parts.end_batch()
    assert (parts.checksum, parts.n_batches) == (whole.checksum, 1)


def test_order_of_batches_and_of_the_corpus_counts():
    one, other = Trail(), Trail()
    add_all(one, EXAMPLES)
    add_all(other, EXAMPLES[::-1])
    assert one.checksum != other.checksum
    assert one.order(EXAMPLES) != one.order(EXAMPLES[::-1])


@given(st.integers(1, 7), st.data())
def test_another_batch_is_noticed_by_the_next_mark(n_batches, data):
    """Marks are after 1, 2, 4 ... batches and after the last."""
    before = Trail()
    add_all(before, EXAMPLES[:n_batches])
    other = data.draw(st.integers(0, n_batches - 1))
    mark = min(n for n in (1, 2, 4, n_batches) if n > other)
    last = max([n for n in (1, 2, 4) if n <= other], default=0)
    trail = Trail(expected=before.marks())
    examples = EXAMPLES[:n_batches]
    examples[other] = EXAMPLES[7]
    with pytest.raises(CheckpointError, match=f"differ in the batches {last + 1} to {mark} "):
        add_all(trail, examples)


def test_same_batches_are_not_minded():
    before = Trail()
    add_all(before, EXAMPLES[:5])
    again = Trail(expected=before.marks())
    add_all(again, EXAMPLES)
    assert again.n_batches == 8
    assert before.marks().keys() == {1, 2, 4, 5}
