"""The relation classifier as a Thinc model."""

import numpy
import pytest
import spacy
import torch
from spacy.tokens import Doc

from spacy_torch.architectures.hash_embed_cnn import build_hash_embed_cnn
from spacy_torch.architectures.relation_classifier import build_relation_classifier
from spacy_torch.bridge.model import get_shim

ENCODER = build_hash_embed_cnn(width=8, depth=1, attrs=["NORM"], rows=[50])


def first_two(doc: Doc):
    """Candidates of one's own: the first token and the second."""
    return [(doc[0:1], doc[1:2])] if len(doc) > 1 else []


def make_docs() -> list[Doc]:
    nlp = spacy.blank("en")
    return [nlp.make_doc(text) for text in ("a b c", "", "d", "e f")]


def test_scores_are_probabilities_and_their_gradient_is_that_of_the_logits():
    docs = make_docs()
    model = build_relation_classifier(ENCODER, first_two, hidden_width=4)
    model.initialize(X=docs, Y=2)
    scores, backprop = model.begin_update(docs)
    # Untrained: two labels and "none", all alike.
    assert [len(rows) for rows in scores] == [1, 0, 0, 1]
    numpy.testing.assert_allclose(numpy.concatenate([scores[0], scores[3]]), 1 / 3, rtol=1e-6)
    truth = numpy.array([[0, 1, 0]], dtype="float32")
    backprop([rows - truth if len(rows) else rows for rows in scores])
    # The bias of the last layer gets the sum of scores minus truth over both pairs.
    bias = get_shim(model.get_ref("logits")).module.output.bias
    torch.testing.assert_close(bias.grad, torch.tensor([2 / 3, -4 / 3, 2 / 3]))


def test_batch_without_pairs_can_be_trained():
    model = build_relation_classifier(ENCODER, first_two, hidden_width=4, exclusive_classes=False)
    docs = make_docs()
    model.initialize(X=docs, Y=2)
    scores, backprop = model.begin_update(docs[1:3])
    assert [len(rows) for rows in scores] == [0, 0]
    backprop(scores)


def test_model_cannot_be_sized_without_the_number_of_labels():
    model = build_relation_classifier(ENCODER, first_two)
    with pytest.raises(ValueError, match="sized by its labels: initialize it with their number"):
        model.initialize(X=make_docs())


def test_candidates_that_cannot_be_called_are_refused():
    with pytest.raises(TypeError, match=r"candidates must be a function .* pairs .*, got None"):
        build_relation_classifier(ENCODER, None)


def test_encoder_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="the encoder must be an Encoder, got None"):
        build_relation_classifier(None, first_two)
