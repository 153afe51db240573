"""The span classifier under spaCy's own components, and on stock encoders."""

import pytest
import spacy
from spacy.training import Example
from tiny_encoder import ENCODER

from spacy_torch.architectures.hash_embed_cnn import build_hash_embed_cnn
from spacy_torch.architectures.span_classifier import build_span_classifier

MODEL = {"@architectures": "spacy-torch.SpanClassifier.v1", "encoder": ENCODER, "hidden_width": 16}
TOK2VEC = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "width": 16,
    "depth": 1,
    "embed_size": 200,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": False,
    "pretrained_vectors": None,
}
TRUTH = {
    "two for seven": [(0, 3, "people"), (8, 13, "time")],
    "seven": [(0, 5, "time")],
    "no thanks": [],
}


def train(nlp, *, steps=80):
    examples = [
        Example.from_dict(nlp.make_doc(text), {"spans": {"sc": spans}})
        for text, spans in TRUTH.items()
    ]
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)
    return examples


def spans_of(docs):
    return [[(str(s), s.label_) for s in doc.spans["sc"]] for doc in docs]


@pytest.mark.parametrize("factory", ["spancat", "spancat_singlelabel"])
def test_stock_component_learns_and_survives_saving(factory, tmp_path):
    nlp = spacy.blank("en")
    exclusive = factory == "spancat_singlelabel"
    model = {**MODEL, "exclusive_classes": exclusive}
    nlp.add_pipe(factory, config={"model": model, "spans_key": "sc"})
    examples = train(nlp)
    assert nlp.evaluate(examples)["spans_sc_f"] == 1.0
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    texts = ["", *TRUTH, ""]
    assert spans_of(loaded.pipe(texts)) == spans_of(nlp.pipe(texts))


def test_stock_component_cannot_have_a_proposer():
    nlp = spacy.blank("en")
    proposer = {"@misc": "spacy-torch.SpanProposer.v1"}
    nlp.add_pipe("spancat", config={"model": {**MODEL, "proposer": proposer}})
    with pytest.raises(ValueError, match='use the component "torch_spancat", or leave out'):
        train(nlp, steps=1)


@pytest.mark.parametrize("shared", [False, True])
def test_stock_tok2vec_trains_below_it(shared):
    nlp = spacy.blank("en")
    tok2vec = TOK2VEC
    if shared:
        nlp.add_pipe("tok2vec", config={"model": TOK2VEC})
        tok2vec = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    encoder = {"@torch_encoders": "spacy-torch.FromTok2Vec.v1", "tok2vec": tok2vec}
    nlp.add_pipe("torch_spancat", config={"model": {**MODEL, "encoder": encoder}})
    examples = train(nlp)
    assert nlp.evaluate(examples)["spans_sc_f"] == 1.0
    alone = [spans_of([nlp(text)]) for text in ("", "seven", " ")]
    assert [spans_of([doc]) for doc in nlp.pipe(["", "seven", " "])] == alone
    assert spans_of(nlp.pipe(["", ""])) == [[], []]


def test_model_cannot_be_sized_without_a_sample_of_the_truth():
    model = build_span_classifier(build_hash_embed_cnn())
    with pytest.raises(ValueError, match="sized by its labels: initialize it with a sample"):
        model.initialize()
