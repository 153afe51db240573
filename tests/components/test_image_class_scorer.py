"""`spacy-torch.image_class_scorer.v1`."""

import pytest
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry
from spacy.vocab import Vocab

from spacy_torch.components.image_class_scorer import score_image_classes

VOCAB = Vocab()


def example(gold, found):
    reference, predicted = Doc(VOCAB, ["a.png"]), Doc(VOCAB, ["a.png"])
    reference.cats, predicted.cats = gold, found
    return Example(predicted, reference)


CAT, DOG = {"cat": 1.0, "dog": 0.0}, {"cat": 0.0, "dog": 1.0}


def test_scores_are_those_by_hand():
    scorer = registry.resolve({"s": {"@scorers": "spacy-torch.image_class_scorer.v1"}})["s"]
    examples = [
        example(CAT, {"cat": 0.6, "dog": 0.4}),
        example(CAT, {"cat": 0.2, "dog": 0.3, "cow": 0.5}),
        example(DOG, {"cat": 0.4, "dog": 0.4001}),
        example(DOG, {}),
        example({}, {"cat": 1.0}),
        example({"cat": 0.0}, {"cat": 1.0}),
    ]
    scores = scorer(examples)
    # Four count: right, wrong (cow), right, wrong (nothing). F = 2 * right / (found + gold):
    # cat 2 / (1 + 2), dog 2 / (1 + 2), cow 0.
    assert scores["cats_accuracy"] == 2 / 4
    assert scores["cats_macro_f"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert scores["cats_f_per_type"]["cat"] == pytest.approx({"p": 1, "r": 1 / 2, "f": 2 / 3})
    assert scores["cats_f_per_type"]["cow"] == {"p": 0, "r": 0, "f": 0}


def test_scores_are_none_where_nothing_is_known():
    for examples in ([], [example({}, CAT)]):
        assert set(score_image_classes(examples).values()) == {None}


def test_several_classes_are_for_another_scorer():
    with pytest.raises(ValueError, match=r"'a.png ' has the classes 'cat', 'dog', .*multilabel"):
        score_image_classes([example({"cat": 1.0, "dog": 1.0}, CAT)])
