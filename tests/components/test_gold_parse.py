"""Gold parses against spaCy's own reading of them."""

from functools import partial

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.training import Example

from spacy_torch.components.gold_parse import read_parses
from spacy_torch.components.skipped import Skipped

VOCAB = spacy.blank("en").vocab
LABELS = ["ROOT", "nsubj", "obj", "det"]
COLUMNS = {VOCAB.strings.add(label): column for column, label in enumerate(LABELS)}


@st.composite
def parsed_docs(draw: st.DrawFn) -> Doc:
    """Projective trees of a few sentences: each token hangs on the one before, or starts one."""
    heads: list[int] = []
    for i in range(draw(st.integers(1, 8))):
        heads.append(draw(st.sampled_from([i, i - 1] if i else [i])))
    deps = [
        "ROOT" if head == i else draw(st.sampled_from(LABELS[1:])) for i, head in enumerate(heads)
    ]
    return Doc(VOCAB, [f"w{i}" for i in range(len(heads))], heads=heads, deps=deps)


def read(predicted: list[str], reference: Doc, skipped: Skipped | None = None):
    skip = partial((skipped if skipped is not None else Skipped()).add, name="parser")
    return read_parses([Example(Doc(VOCAB, predicted), reference)], COLUMNS, skip)


@given(st.lists(parsed_docs(), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_tokens_alike_have_the_heads_and_labels_of_the_reference(docs):
    words = [[token.text for token in doc] for doc in docs]
    examples = [Example(Doc(VOCAB, each), doc) for each, doc in zip(words, docs, strict=True)]
    gold = read_parses(examples, COLUMNS)
    heads, labels, starts, lengths = [], [], [], []
    for doc in docs:
        offset = len(heads)
        heads += [token.head.i + offset for token in doc]
        labels += [LABELS.index(token.dep_) for token in doc]
        starts += [int(token.is_sent_start) for token in doc]
        lengths += [len(sent) for sent in doc.sents]
    assert gold.heads.tolist() == heads
    assert gold.labels.tolist() == labels
    assert gold.starts.tolist() == starts
    assert gold.sentences.lengths.tolist() == lengths


def test_tokens_split_differently_and_those_below_them_have_no_heads():
    heads, deps = [1, 1, 3, 1], ["nsubj", "ROOT", "det", "obj"]
    reference = Doc(VOCAB, ["he", "can", "not", "see"], heads=heads, deps=deps)
    gold = read(["he", "cannot", "see"], reference)
    assert gold.heads.tolist() == [-1, -1, -1]
    # The head of "not" and "see" is one token in both.
    reference = Doc(
        VOCAB,
        ["can", "not", "see", "us"],
        heads=[2, 2, 2, 2],
        deps=[*LABELS[1:2] * 2, "ROOT", "obj"],
    )
    gold = read(["cannot", "see", "u", "s"], reference)
    assert gold.heads.tolist() == [-1, 1, -1, -1]
    assert gold.labels.tolist() == [-1, 0, -1, -1]
    assert gold.starts.tolist() == [1, 0, 0, 0]


@given(parsed_docs(), st.data())
@settings(max_examples=40, deadline=None)
def test_heads_between_tokens_that_are_one_in_both_are_spacys(reference, data):
    """Merge some words and split others; spaCy's own alignment is the witness."""
    predicted: list[str] = []
    for token in reference:
        how = data.draw(st.sampled_from(["same", "same", "split", "merge"]))
        if how == "split":
            predicted += [token.text[:1], token.text[1:]]
        elif how == "merge" and predicted:
            predicted[-1] += token.text
        else:
            predicted.append(token.text)
    example = Example(Doc(VOCAB, predicted), reference)
    skipped = Skipped()
    gold = read_parses([example], COLUMNS, partial(skipped.add, name="parser"))
    heads, deps = example.get_aligned_parse(projectivize=False)
    same = {
        i
        for i, length in enumerate(example.alignment.x2y.lengths)
        if length == 1 and example.alignment.y2x.lengths[example.alignment.x2y[i][0]] == 1
    }
    if skipped["sentences that are no tree"]:  # a merged token may join two sentences
        return
    for i, (head, dep) in enumerate(zip(heads, deps, strict=True)):
        if i in same and head in same:
            assert gold.heads[i] == head
            assert gold.labels[i] == LABELS.index(dep)
        else:
            assert gold.heads[i] == gold.labels[i] == -1
    starts = [int(start) for start in example.get_aligned_sent_starts()]
    assert [start for start in gold.starts if start >= 0] == starts


@pytest.mark.parametrize(
    ("heads", "deps", "n_broken"),
    [
        ([1, 0, 1, 3], ["det", "det", "det", "ROOT"], 1),  # a circle before a good sentence
        ([0, 1, 2], ["ROOT", "ROOT", "ROOT"], 0),  # three sentences
        ([2, 1, 2], ["det", "ROOT", "ROOT"], 2),  # one root inside the span of the other
    ],
)
def test_sentences_that_are_no_trees_are_left_out_whole(heads, deps, n_broken):
    words = [f"w{i}" for i in range(len(heads))]
    skipped = Skipped()
    gold = read(words, Doc(VOCAB, words, heads=heads, deps=deps), skipped)
    assert skipped["sentences that are no tree"] == n_broken
    known = gold.heads >= 0
    assert known.sum() == (len(heads) if not n_broken else known.sum())
    assert all(gold.heads[i] == heads[i] for i in range(len(heads)) if known[i])


def test_whitespace_has_no_part_in_gold():
    heads, deps = [1, 1, 1, 1], ["det", "ROOT", "det", "obj"]
    words = ["a", "b", " ", "c"]
    gold = read(words, Doc(VOCAB, words, heads=heads, deps=deps))
    assert gold.heads.tolist() == [1, 1, -1, 1]
    assert gold.starts.tolist() == [1, 0, -1, 0]
    assert gold.sentences.rows.tolist() == [0, 1, 3]


def test_sentence_starts_are_unknown_in_a_document_that_is_parsed_in_part():
    words = ["a", "b", "c"]
    gold = read(words, Doc(VOCAB, words, heads=[0, 1, 1], deps=["", "", "obj"]))
    assert gold.starts.tolist() == [-1, -1, -1]
    assert gold.heads.tolist() == [-1, -1, 1]


def test_only_sentences_with_a_head_are_looked_at():
    trained = Doc(VOCAB, ["a", "b"], heads=[1, 1], deps=["det", "ROOT"])
    unparsed = Doc(VOCAB, ["c"] * 2000, tags=["X"] * 2000)
    skipped = Skipped()
    examples = [Example(Doc(VOCAB, [w.text for w in doc]), doc) for doc in (unparsed, trained)]
    gold = read_parses(examples, COLUMNS, partial(skipped.add, name="parser"))
    assert gold.sentences.rows.tolist() == [2000, 2001]
    assert gold.sentences.lengths.tolist() == [2]
    assert not skipped


def test_arcs_of_misaligned_tokens_and_of_other_labels_are_counted():
    skipped = Skipped()
    heads, deps = [1, 1, 3, 1], ["nsubj", "ROOT", "det", "obj"]
    reference = Doc(VOCAB, ["he", "can", "not", "see"], heads=heads, deps=deps)
    read(["he", "cannot", "see"], reference, skipped)
    assert skipped == {"arcs between misaligned tokens": 3}
    skipped.clear()
    read(["a", "b"], Doc(VOCAB, ["a", "b"], heads=[1, 1], deps=["new", "ROOT"]), skipped)
    assert skipped == {"arcs with other labels": 1}


def test_no_examples_have_an_empty_parse():
    gold = read_parses([], COLUMNS)
    assert [len(gold.heads), len(gold.labels), len(gold.starts)] == [0, 0, 0]
