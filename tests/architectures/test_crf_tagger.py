"""The tagger with a chain as a Thinc model."""

import numpy
import pytest
import spacy
from spacy.training import Example

from spacy_torch.architectures.crf_tagger import build_crf_tagger
from spacy_torch.architectures.hash_embed_cnn import build_hash_embed_cnn
from spacy_torch.bridge.model import get_shim


def make_model(nlp):
    encoder = build_hash_embed_cnn(width=16, depth=1, attrs=["NORM"], rows=[100])
    model = build_crf_tagger(encoder)
    docs = [nlp.make_doc(text) for text in ("a b c", "", "d")]
    model.initialize(X=docs, Y=2)
    return model, docs


def test_model_gives_a_score_per_token_and_tag_and_takes_their_gradient():
    model, docs = make_model(spacy.blank("en"))
    scores, backprop = model.begin_update(docs)
    assert [rows.shape for rows in scores] == [(3, 9), (0, 9), (1, 9)]
    backprop([numpy.ones_like(rows) for rows in scores])
    module = get_shim(model.get_ref("logits")).module
    # Each token adds one to the gradient of each tag's bias.
    assert module.output.bias.grad.tolist() == [4.0] * 9
    assert module.between.grad is None


def test_model_cannot_be_sized_without_the_number_of_labels():
    model = build_crf_tagger(build_hash_embed_cnn())
    with pytest.raises(ValueError, match="sized by its labels: initialize it with their number"):
        model.initialize(X=[spacy.blank("en").make_doc("a b")])


def test_encoder_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="the encoder must be an Encoder, got None"):
        build_crf_tagger(None)


@pytest.mark.parametrize("factory", ["tok2vec", None])
def test_encoder_may_stand_on_a_stock_tok2vec(factory):
    nlp = spacy.blank("en")
    stock = {
        "@architectures": "spacy.HashEmbedCNN.v2",
        "width": 16,
        "depth": 1,
        "embed_size": 100,
        "window_size": 1,
        "maxout_pieces": 2,
        "subword_features": True,
        "pretrained_vectors": None,
    }
    tok2vec = stock
    if factory:
        nlp.add_pipe("tok2vec", config={"model": stock})
        tok2vec = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    encoder = {"@torch_encoders": "spacy-torch.FromTok2Vec.v1", "tok2vec": tok2vec}
    model = {"@architectures": "spacy-torch.CRFTagger.v1", "encoder": encoder}
    nlp.add_pipe("torch_ner", config={"model": model})
    truth = [("Ada met Bob", [(0, 3, "PERSON"), (8, 11, "PERSON")]), ("to go", [])]
    examples = [Example.from_dict(nlp.make_doc(t), {"entities": e}) for t, e in truth]
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    assert nlp.evaluate(examples)["ents_f"] == 1.0
