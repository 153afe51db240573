"""What a sentence recognizer learns from, writes and refuses."""

from functools import cache

import numpy
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.cli.init_pipeline import _init_labels
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from tiny_encoder import ENCODER

from spacy_torch.bridge.model import get_shim

MODEL = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": ENCODER}
SENTENCES = [(["he", "runs", ".", "she", "too"], [1, -1, -1, 1, -1]), (["go"], [1])]


def make_nlp(factory: str = "torch_senter", **config: object) -> Language:
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, config={"model": MODEL, **config})
    return nlp


def make_example(nlp: Language, words: list[str], starts: list[int]) -> Example:
    return Example(Doc(nlp.vocab, words), Doc(nlp.vocab, words, sent_starts=starts))


def train(nlp: Language, sentences=SENTENCES, *, steps: int = 40) -> None:
    examples = [make_example(nlp, *sentence) for sentence in sentences]
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)


def starts_of(doc: Doc) -> list[bool | None]:
    return [token.is_sent_start for token in doc]


def test_finds_the_sentences_it_learned():
    nlp = make_nlp()
    train(nlp)
    doc = nlp(Doc(nlp.vocab, SENTENCES[0][0]))
    assert [sent.text for sent in doc.sents] == ["he runs .", "she too"]
    assert starts_of(doc) == [True, False, False, True, False]


def test_untrained_senter_starts_a_sentence_at_the_first_token_and_nowhere_else():
    # Its logits are zero, so "I" is as good as "S", and comes first.
    nlp = make_nlp()
    train(nlp, steps=0)
    assert starts_of(nlp(Doc(nlp.vocab, ["a", "b"]))) == [True, False]
    assert [sent.text for sent in nlp(Doc(nlp.vocab, ["a"])).sents] == ["a"]


make_cached = cache(make_nlp)
starts = st.lists(st.sampled_from([-1, 0, 1]), max_size=5)


@pytest.mark.parametrize("overwrite", [False, True])
@settings(deadline=None)  # the first call makes the pipelines
@given(before=starts, data=st.data())
def test_annotates_after_the_first_token_as_the_stock_senter_does(overwrite, before, data):
    columns = numpy.array([data.draw(st.integers(0, 1)) for _ in before], dtype=numpy.int64)
    found = []
    for factory in ("torch_senter", "senter"):
        nlp = make_cached(factory, overwrite=overwrite)
        doc = Doc(nlp.vocab, ["a"] * len(before), sent_starts=before)
        nlp.get_pipe(factory).set_annotations([doc, Doc(nlp.vocab)], [columns, columns[:0]])
        found.append(starts_of(doc)[1:])
    assert found[0] == found[1]


def test_tokens_of_which_nothing_is_known_train_nothing():
    nlp = make_nlp()
    train(nlp, steps=0)
    nothing = [make_example(nlp, ["he", "runs"], [1, 0]), make_example(nlp, ["he"], [0])]
    assert nlp.update(nothing[:1], sgd=nlp.create_optimizer()) == {"torch_senter": 0.0}
    output = get_shim(nlp.get_pipe("torch_senter").logits_model).module.output
    assert not output.weight.any()


def test_sentence_known_in_part_is_learned_as_far_as_it_goes():
    nlp = make_nlp()
    train(nlp, [(["he", "runs", ".", "she", "too"], [1, -1, 0, 1, 0])])
    found = starts_of(nlp(Doc(nlp.vocab, SENTENCES[0][0])))
    assert [found[1], found[3]] == [False, True]


def test_first_token_certainly_starts_a_sentence():
    nlp = make_nlp()
    train(nlp)
    docs = [Doc(nlp.vocab, words) for words in (["runs", ".", "she"], [], ["runs"])]
    found = nlp.get_pipe("torch_senter").probabilities(docs)
    assert [len(each.candidates) for each in found] == [3, 0, 1]
    numpy.testing.assert_allclose(found[0].values.sum(1), 1, rtol=1e-5)
    assert found[0].values[0].tolist() == found[2].values[0].tolist() == [0.0, 1.0]
    assert found[0].values[2, 1] > 0.5 > found[0].values[1, 1]


def test_its_labels_are_hidden_as_those_of_the_stock_senter(tmp_path):
    nlp = make_nlp()
    train(nlp, steps=0)
    pipe = nlp.get_pipe("torch_senter")
    assert pipe.labels == ("I", "S")
    assert nlp.pipe_labels == {}
    assert nlp.meta["labels"] == {}
    _init_labels(nlp, tmp_path)  # `spacy init labels`
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("starts", "missing"),
    [
        ([1, 0, 0, 1, 0], "that it starts none: set"),
        ([1, -1, -1, -1, -1], "that it starts a sentence: set"),
        ([0, 0, 0, 0, 0], "that it starts a sentence or that it starts none: set"),
    ],
)
def test_examples_without_one_of_the_labels_are_refused(starts, missing):
    with pytest.raises(ValueError, match=missing):
        train(make_nlp(), [(SENTENCES[0][0], starts)])


def test_no_label_can_be_added():
    pipe = make_nlp().get_pipe("torch_senter")
    with pytest.raises(NotImplementedError, match=r"labels \('I', 'S'\) and takes no others"):
        pipe.add_label("X")
