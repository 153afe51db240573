"""The registered bags of n-grams: the size of their table, and that a classifier fits it."""

import numpy as np
import pytest
import spacy

from spacy_torch.architectures.bag_of_ngrams import build_bow_classifier, round_up_rows
from spacy_torch.architectures.ensemble import build_ensemble_classifier
from spacy_torch.bridge.model import get_shim


@pytest.mark.parametrize(("rows", "expected"), [(1, 1), (2, 2), (3, 4), (1000, 1024), (1024, 1024)])
def test_rows_are_rounded_up_to_a_power_of_two(rows, expected):
    assert round_up_rows(rows) == expected


@pytest.mark.parametrize(
    ("build", "table"),
    [(build_bow_classifier, "weight"), (build_ensemble_classifier, "bag.weight")],
)
def test_table_has_the_rows_that_its_ngrams_are_hashed_to(build, table):
    docs = [spacy.blank("en")("a few words, enough of them for a table of five rows")]
    model = build(exclusive_classes=True, ngram_rows=5)
    model.initialize(X=docs, Y=np.zeros((1, 3), dtype="f"))
    module = get_shim(model.get_ref("logits")).module
    assert module.get_parameter(table).shape == (8, 3)
    assert model.predict(docs).shape == (1, 3)


@pytest.mark.parametrize("build", [build_bow_classifier, build_ensemble_classifier])
def test_table_without_rows_is_refused(build):
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        build(exclusive_classes=True, ngram_rows=0)


@pytest.mark.parametrize(
    ("build", "settings", "expected"),
    [
        (build_bow_classifier, {}, 0.0),  # as in spaCy, where the bag has no dropout
        (build_bow_classifier, {"ngram_dropout": None}, 0.4),
        (build_ensemble_classifier, {}, 0.4),
    ],
)
def test_ngrams_follow_the_training_dropout_where_they_are_told_to(build, settings, expected):
    model = build(exclusive_classes=True, ngram_rows=8, **settings)
    model.initialize(X=[spacy.blank("en")("a b")], Y=np.zeros((1, 3), dtype="f"))
    shim = get_shim(model.get_ref("logits"))
    shim.set_dropout(0.4)
    (rate,) = [
        part.p for name, part in shim.module.named_modules() if name in ("dropout", "bag.dropout")
    ]
    assert rate == expected
