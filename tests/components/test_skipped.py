"""What cannot be learned is counted each time and logged once."""

import logging
from functools import partial
from typing import Any

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from tiny_encoder import ENCODER

from spacy_torch.components.gold_tokens import read_sentence_starts
from spacy_torch.components.skipped import Skipped
from spacy_torch.features.relations import set_relations


def test_every_reason_is_logged_once_and_counted_always(caplog):
    skipped = Skipped()
    with caplog.at_level(logging.WARNING):
        for reason, count in [("tags", 2), ("heads", 1), ("tags", 3), ("deps", 0)]:
            skipped.add(reason, count, name="pipe", value="X", step="look")
    assert skipped == {"tags": 5, "heads": 1}
    expected = "'pipe' learns nothing from {}, such as 'X': look. This is logged once"
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert all(m.startswith(expected.format(r)) for m, r in zip(messages, skipped, strict=True))


TOKEN = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": ENCODER}
PARSER = {"@architectures": "spacy-torch.BiaffineParser.v1", "encoder": ENCODER}
NER = {"@architectures": "spacy-torch.CRFTagger.v1", "encoder": ENCODER}


SPANS = {"@architectures": "spacy-torch.SpanClassifier.v1", "encoder": ENCODER}
PAIRS = {
    "@architectures": "spacy-torch.RelationClassifier.v1",
    "encoder": ENCODER,
    "exclusive_classes": True,
    "candidates": {"@misc": "spacy-torch.EntityPairs.v1"},
}
TEXT = {
    "@architectures": "spacy-torch.TextCat.v1",
    "encoder": ENCODER,
    "exclusive_classes": False,
}


def make_example(nlp: Language, *, relations: list[Any] | None = None, **truth: Any) -> Example:
    example = Example.from_dict(nlp.make_doc("x y"), truth)
    if relations is not None:
        set_relations(example.reference, relations)
    return example


@pytest.mark.parametrize(
    ("factory", "model", "known", "strange", "reason", "value"),
    [
        ("torch_tagger", TOKEN, {"tags": ["A", "B"]}, {"tags": ["A", "NEW"]}, "tokens", "NEW"),
        (
            "torch_morphologizer",
            TOKEN,
            {"pos": ["NOUN", "VERB"], "morphs": ["Number=Sing", ""]},
            {"pos": ["NOUN", "ADJ"], "morphs": ["Number=Sing", "Case=Nom"]},
            "tokens",
            "ADJ Case=Nom",
        ),
        (
            "torch_parser",
            PARSER,
            {"heads": [0, 0], "deps": ["ROOT", "obj"]},
            {"heads": [0, 0], "deps": ["ROOT", "new"]},
            "arcs",
            "new",
        ),
        ("torch_ner", NER, {"entities": ["U-A", "O"]}, {"entities": ["U-B", "O"]}, "entities", "B"),
        (
            "torch_spancat",
            SPANS,
            {"spans": {"sc": [(0, 1, "A")]}},
            {"spans": {"sc": [(0, 1, "B")]}},
            "spans",
            "x (B)",
        ),
        (
            "torch_relations",
            PAIRS,
            {"entities": ["U-A", "U-A"], "relations": [((0, 1), (1, 2), "R")]},
            {"entities": ["U-A", "U-A"], "relations": [((0, 1), (1, 2), "S")]},
            "relations",
            "x -> y (S)",
        ),
        (
            "torch_textcat_multilabel",
            TEXT,
            {"cats": {"A": 1.0}},
            {"cats": {"B": 1.0, "C": 0.0}},
            "categories",
            "B",
        ),
    ],
)
def test_labels_never_seen_are_counted_and_logged_once(
    factory, model, known, strange, reason, value, caplog
):
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe(factory, config={"model": model})
    optimizer = nlp.initialize(lambda: [make_example(nlp, **known)])
    example = make_example(nlp, **strange)
    with caplog.at_level(logging.WARNING, logger="spacy_torch"):
        for _ in range(2):
            nlp.update([example], sgd=optimizer)
    assert pipe.skipped == {f"{reason} with other labels": 2}
    (record,) = caplog.records
    assert f"{factory!r} learns nothing from {reason}" in record.getMessage()
    assert f"such as {value!r}" in record.getMessage()


@pytest.mark.parametrize(
    ("factory", "truth"),
    [
        ("torch_tagger", {"tags": ["A", "B", "A"]}),
        ("torch_morphologizer", {"pos": ["NOUN", "VERB", "NOUN"]}),
        ("torch_senter", {"sent_starts": [1, 1, -1]}),
    ],
)
def test_words_that_the_reference_splits_otherwise_are_counted(factory, truth):
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe(factory, config={"model": TOKEN})
    spaces = [False, True, False]
    reference = Doc(nlp.vocab, ["x", "y", "z"], spaces=spaces, **truth)
    nlp.initialize(lambda: [Example(Doc(nlp.vocab, ["x", "y", "z"], spaces=spaces), reference)])
    predicted = Doc(nlp.vocab, ["xy", " ", "z"], spaces=[True, False, False])
    nlp.update([Example(predicted, reference)], sgd=False)
    # In the sentence recognizer, "xy" starts a sentence in any case.
    assert pipe.skipped == ({} if factory == "torch_senter" else {"misaligned tokens": 1})


def test_word_inside_of_which_a_sentence_starts_is_counted():
    vocab = spacy.blank("en").vocab
    words, spaces = ["x", "y", "z"], [False, False, False]
    reference = Doc(vocab, words, spaces=spaces, sent_starts=[1, -1, 1])
    skipped = Skipped()
    example = Example(Doc(vocab, ["x", "yz"], spaces=spaces[:2]), reference)
    starts = read_sentence_starts(example, partial(skipped.add, name="senter"))
    assert starts.tolist() == [1, 0]
    assert skipped == {"misaligned tokens": 1}
