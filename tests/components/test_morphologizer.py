"""What a morphologizer learns from, writes and refuses."""

from collections.abc import Sequence
from functools import cache

import numpy
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.cli.init_pipeline import _init_labels
from spacy.language import Language
from spacy.parts_of_speech import IDS as POS_IDS
from spacy.tokens import Doc
from spacy.training import Example
from tiny_encoder import ENCODER

from spacy_torch.bridge.model import get_shim

MODEL = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": ENCODER}
NOUN, VERB = "Number=Plur|POS=NOUN", "POS=VERB"
# Each token as its features and its part of speech; None where they were never set.
SENTENCES = [
    (["dogs", "see", "her"], ["Number=Plur", "", "Case=Acc|Gender=Fem"], ["NOUN", "VERB", "PRON"]),
    (["run"], [None], ["VERB"]),
]


def make_nlp(factory: str = "torch_morphologizer", **config: object) -> Language:
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, config={"model": MODEL, **config})
    return nlp


def make_doc(
    nlp: Language,
    words: list[str],
    morphs: Sequence[str | None],
    pos: Sequence[str],
    *,
    has_spaces: bool = True,
) -> Doc:
    doc = Doc(nlp.vocab, words, spaces=[has_spaces] * len(words), pos=list(pos))
    for token, morph in zip(doc, morphs, strict=True):
        if morph is not None:
            token.set_morph(morph)
    return doc


def make_example(nlp: Language, words: list[str], *gold: list[str]) -> Example:
    return Example(Doc(nlp.vocab, words), make_doc(nlp, words, *gold))


def train(nlp: Language, sentences=SENTENCES, *, steps: int = 40) -> None:
    examples = [make_example(nlp, *sentence) for sentence in sentences]
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)


def analyses(doc: Doc) -> list[tuple[str, str]]:
    return [(str(token.morph), token.pos_) for token in doc]


def test_labels_are_those_of_the_stock_morphologizer_in_alphabetical_order():
    nlp, stock = make_nlp(), make_nlp("morphologizer")
    train(nlp, steps=0)
    train(stock, steps=0)
    labels = nlp.get_pipe("torch_morphologizer").labels
    assert labels == tuple(sorted(stock.get_pipe("morphologizer").labels))
    assert labels == ("Case=Acc|Gender=Fem|POS=PRON", NOUN, VERB)


@pytest.mark.parametrize("label", ["POS=NOUN|Number=Plur", "Case=Nom", "POS=X", "A=c,b|POS=NUM"])
def test_added_label_is_what_the_stock_morphologizer_makes_of_it(label):
    ours = make_nlp().get_pipe("torch_morphologizer")
    stock = make_nlp("morphologizer").get_pipe("morphologizer")
    assert (ours.add_label(label), ours.add_label(label)) == (1, 0)
    stock.add_label(label)
    assert ours.labels == stock.labels
    assert ours.label_data["pos"] == stock.label_data["pos"]
    # Where there are no features, the stock one notes "_" here and "" in initialize().
    morphs = {label: morph.strip("_") for label, morph in stock.label_data["morph"].items()}
    assert ours.label_data["morph"] == morphs


def test_learns_features_and_part_of_speech_together():
    nlp = make_nlp()
    train(nlp)
    doc = nlp(Doc(nlp.vocab, ["dogs", "see", "her"]))
    expected = [("Number=Plur", "NOUN"), ("", "VERB"), ("Case=Acc|Gender=Fem", "PRON")]
    assert analyses(doc) == expected
    assert doc.has_annotation("MORPH", require_complete=True)


# Among them every combination of features with and without a part of speech.
LABELS = ["A=1|POS=NOUN", "A=1", "A=2|B=1|POS=VERB", "POS=NOUN", "POS=VERB", "B=1,2|POS=ADJ", "_"]
tokens = st.tuples(
    st.sampled_from([None, "", "A=1", "A=2|B=1", "C=1"]), st.sampled_from(["", "NOUN", "VERB"])
)


@cache
def make_labelled(factory: str, **settings: bool) -> Language:
    nlp = make_nlp(factory, **settings)
    for label in LABELS:
        nlp.get_pipe(factory).add_label(label)
    return nlp


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("extend", [False, True])
@settings(deadline=None)  # the first call makes the pipelines
@given(before=st.lists(tokens, max_size=4), data=st.data())
def test_annotates_as_the_stock_morphologizer_does(overwrite, extend, before, data):
    choose = st.integers(0, len(LABELS) - 1)
    columns = numpy.array([data.draw(choose) for _ in before], dtype=numpy.int64)
    found = []
    for factory in ("torch_morphologizer", "morphologizer"):
        nlp = make_labelled(factory, overwrite=overwrite, extend=extend)
        morphs, pos = [morph for morph, _ in before], [pos for _, pos in before]
        doc = make_doc(nlp, ["a"] * len(before), morphs, pos)
        nlp.get_pipe(factory).set_annotations([doc, Doc(nlp.vocab)], [columns, columns[:0]])
        found.append(([token.morph.key for token in doc], analyses(doc)))
    assert found[0] == found[1]


@settings(deadline=None)  # the first call makes the pipelines
@given(gold=st.lists(tokens, min_size=1, max_size=4), is_split_alike=st.booleans())
def test_gold_is_read_as_the_stock_morphologizer_reads_it(gold, is_split_alike):
    morphs, pos = zip(*gold, strict=True)
    words = ["aa"] * len(gold)
    found = words if is_split_alike else ["a" * (2 * len(gold) - 1), "a"]

    def make_misaligned(nlp: Language) -> Example:
        reference = make_doc(nlp, words, morphs, pos, has_spaces=False)
        return Example(Doc(nlp.vocab, found, spaces=[False] * len(found)), reference)

    ours, stock = make_labelled("torch_morphologizer"), make_labelled("morphologizer")
    columns = ours.get_pipe("torch_morphologizer").find_gold([make_misaligned(ours)])
    # Where the stock one knows nothing its gradient is zero, elsewhere lowest at the truth.
    even = numpy.full((len(found), len(LABELS)), 1 / len(LABELS), dtype="float32")
    _, (gradient,) = stock.get_pipe("morphologizer").get_loss([make_misaligned(stock)], [even])
    assert columns.tolist() == [int(row.argmin()) if row.any() else -1 for row in gradient]


def test_tokens_without_gold_or_with_an_unknown_label_train_nothing():
    nlp = make_nlp()
    train(nlp, steps=0)
    unknown = make_example(nlp, ["dogs", "see"], [None, "Tense=Past"], ["", "VERB"])
    assert nlp.update([unknown], sgd=nlp.create_optimizer()) == {"torch_morphologizer": 0.0}
    output = get_shim(nlp.get_pipe("torch_morphologizer").logits_model).module.output
    assert not output.weight.any()


def test_labels_make_a_round_trip_through_init_labels(tmp_path):
    nlp, other = make_nlp(), make_nlp()
    train(nlp, steps=0)
    _init_labels(nlp, tmp_path)  # `spacy init labels`
    reader = {
        "@readers": "spacy.read_labels.v1",
        "path": str(tmp_path / "torch_morphologizer.json"),
    }
    other.config["initialize"]["components"]["torch_morphologizer"] = {"labels": reader}
    other.initialize(lambda: [make_example(other, *SENTENCES[0])])
    found, expected = (each.get_pipe("torch_morphologizer") for each in (other, nlp))
    assert found.labels == expected.labels
    assert found.label_data == expected.label_data


def test_label_data_of_the_stock_morphologizer_will_do():
    stock, nlp = make_nlp("morphologizer"), make_nlp()
    train(stock, steps=0)
    labels = stock.get_pipe("morphologizer").label_data
    pipe = nlp.get_pipe("torch_morphologizer")
    pipe.initialize(lambda: [make_example(nlp, *SENTENCES[0])], labels=labels)
    assert pipe.label_data == labels


def test_label_added_after_training_keeps_what_was_learned():
    nlp = make_nlp()
    train(nlp)
    nlp.get_pipe("torch_morphologizer").add_label("POS=INTJ")
    doc = nlp(Doc(nlp.vocab, ["dogs", "see", "her"]))
    assert [pos for _, pos in analyses(doc)] == ["NOUN", "VERB", "PRON"]
    more = [make_example(nlp, *s) for s in [*SENTENCES, (["oh"], [""], ["INTJ"])]]
    optimizer = nlp.resume_training()
    for _ in range(40):
        nlp.update(more, sgd=optimizer)
    assert analyses(nlp(Doc(nlp.vocab, ["oh"]))) == [("", "INTJ")]


def test_probabilities_of_each_token_sum_to_one_and_favour_its_label():
    nlp = make_nlp()
    train(nlp)
    docs = [Doc(nlp.vocab, words) for words in (["dogs", "see"], [], ["run"])]
    found = nlp.get_pipe("torch_morphologizer").probabilities(docs)
    assert [len(each.candidates) for each in found] == [2, 0, 1]
    numpy.testing.assert_allclose(found[0].values.sum(1), 1, rtol=1e-5)
    assert [max(row, key=row.get) for _, row in found[0]] == [NOUN, VERB]
    assert not docs[0].has_annotation("POS")


def test_examples_without_annotation_are_refused():
    with pytest.raises(ValueError, match="found none: annotate token.pos or token.morph"):
        train(make_nlp(), [(["go"], [None], [""])])


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("", "a label must be a non-empty string, got ''"),
        (3, "a label must be a non-empty string, got 3"),
        ("noun", "a label must be features such as .*, got 'noun'"),
        ("POS=THING", r"the part of speech in the label 'POS=THING' must be one of \['ADJ'"),
    ],
)
def test_label_of_another_form_is_refused(label, message):
    with pytest.raises(ValueError, match=message):
        make_nlp().get_pipe("torch_morphologizer").add_label(label)


@pytest.mark.parametrize(
    "labels", [[NOUN], {"morph": {NOUN: ""}}, {"morph": {NOUN: ""}, "pos": {VERB: POS_IDS["VERB"]}}]
)
def test_labels_of_another_form_are_refused(labels):
    nlp = make_nlp()
    examples = [make_example(nlp, *SENTENCES[0])]
    pipe = nlp.get_pipe("torch_morphologizer")
    with pytest.raises(ValueError, match="labels must have the parts 'morph' and 'pos'"):
        pipe.initialize(lambda: examples, labels=labels)
