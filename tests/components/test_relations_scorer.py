"""Scores of relations, counted by hand."""

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from spacy_torch.components.relations_scorer import make_relations_scorer, score_relations
from spacy_torch.features.relations import register_relations, set_relations

A, B, C = (0, 1), (1, 2), (2, 3)


def make_example(gold, found, *, complete: bool = True) -> Example:
    register_relations()
    nlp = spacy.blank("en")
    example = Example(nlp.make_doc("a b c"), nlp.make_doc("a b c"))
    if gold is not None:
        set_relations(example.reference, gold, complete=complete)
    example.predicted._.relations = found
    return example


def test_micro_counts_relations_and_macro_counts_kinds():
    examples = [
        # x: one right of one found and two gold; y: none right of two found and one gold.
        make_example([(A, B, "x"), (B, C, "x"), (A, C, "y")], [(A, B, "x"), (C, A, "y")]),
        make_example([], [(A, B, "y")]),
    ]
    scores = score_relations(examples)
    assert scores["rel_micro_p"] == pytest.approx(1 / 3)
    assert scores["rel_micro_r"] == pytest.approx(1 / 3)
    assert scores["rel_micro_f"] == pytest.approx(1 / 3)
    assert scores["rel_f_per_type"]["x"] == pytest.approx({"p": 1.0, "r": 0.5, "f": 2 / 3})
    assert scores["rel_f_per_type"]["y"] == {"p": 0.0, "r": 0.0, "f": 0.0}
    assert scores["rel_macro_f"] == pytest.approx(1 / 3)
    assert scores["rel_macro_p"] == pytest.approx(1 / 2)
    assert scores["rel_macro_r"] == pytest.approx(1 / 4)


def test_reference_without_relations_does_not_count():
    scores = score_relations([make_example(None, [(A, B, "x")])])
    assert set(scores.values()) == {None}
    examples = [make_example(None, [(A, B, "x")]), make_example([(A, B, "x")], [(A, B, "x")])]
    assert score_relations(examples)["rel_micro_p"] == 1.0


def test_only_what_an_incomplete_reference_names_counts():
    gold = [(A, B, "x"), (B, C, "x", 0.0)]
    scores = score_relations(
        [make_example(gold, [(A, B, "x"), (B, C, "x"), (A, C, "x")], complete=False)]
    )
    assert (scores["rel_micro_p"], scores["rel_micro_r"]) == (0.5, 1.0)


def test_spans_are_compared_by_their_characters():
    register_relations()
    nlp = spacy.blank("en")
    predicted = Doc(nlp.vocab, ["ab", "c"], spaces=[True, False])
    reference = Doc(nlp.vocab, ["a", "b", "c"], spaces=[False, True, False])
    predicted._.relations = [((0, 1), (1, 2), "x")]
    reference._.relations = [((0, 2), (2, 3), "x")]
    assert score_relations([Example(predicted, reference)])["rel_micro_f"] == 1.0


def test_official_semeval_score_counts_the_wrong_direction_as_wrong_and_leaves_other_out():
    out, back, other = "Cause(e1,e2)", "Cause(e2,e1)", "Other"
    # As the official scorer counts, on Cause: 2 right, 4 found, 4 gold, thus F 1/2; on Member:
    # 1 right, 2 found, 1 gold, thus F 2/3.
    pairs = [
        (out, out),
        (back, back),
        (out, back),
        (back, other),
        (other, out),
        ("Member(e1,e2)", "Member(e1,e2)"),
        (other, "Member(e2,e1)"),
        (other, other),
    ]
    examples = [make_example([(A, B, gold)], [(A, B, found)]) for gold, found in pairs]
    score = make_relations_scorer(ignore=["Other"], merge_directions=True)
    scores = score(examples)
    assert scores["rel_f_per_type"]["Cause"] == {"p": 0.5, "r": 0.5, "f": 0.5}
    assert scores["rel_f_per_type"]["Member"]["f"] == pytest.approx(2 / 3)
    assert scores["rel_macro_f"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_documents_without_spans_to_relate_are_warned_of(caplog):
    example = make_example([(A, B, "x")], [])
    assert score_relations([example])["rel_micro_f"] == 0.0
    assert "No relation can be found: not one of the documents to score has ent" in caplog.text
    caplog.clear()
    example.predicted.spans["sc"] = [example.predicted[0:1]]
    score_relations([example])
    assert not caplog.text
