"""The token classifier under spaCy's own components."""

import pytest
import spacy
from spacy.training import Example
from tiny_encoder import ENCODER

from spacy_torch.architectures.hash_embed_cnn import build_hash_embed_cnn
from spacy_torch.architectures.token_classifier import build_token_classifier

MODEL = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": ENCODER}
TRUTH = {
    "words": ["She", "sees", "dogs", ".", "They", "bark", "."],
    "tags": ["PRP", "VBZ", "NNS", ".", "PRP", "VBP", "."],
    "pos": ["PRON", "VERB", "NOUN", "PUNCT", "PRON", "VERB", "PUNCT"],
    "morphs": ["Number=Sing", "", "Number=Plur", "", "Number=Plur", "", ""],
    "lemmas": ["she", "see", "dog", ".", "they", "bark", "."],
    "sent_starts": [1, 0, 0, 0, 1, 0, 0],
}


@pytest.mark.parametrize(
    ("factory", "score"),
    [
        ("tagger", "tag_acc"),
        ("morphologizer", "morph_acc"),
        ("senter", "sents_f"),
        ("trainable_lemmatizer", "lemma_acc"),
    ],
)
def test_stock_component_learns_and_survives_saving(factory, score, tmp_path):
    nlp = spacy.blank("en")
    settings = {"min_tree_freq": 1} if factory == "trainable_lemmatizer" else {}
    nlp.add_pipe(factory, config={"model": MODEL, **settings})
    text = "She sees dogs . They bark ."
    examples = [Example.from_dict(nlp.make_doc(text), TRUTH)]
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(80):
        nlp.update(examples, sgd=optimizer)
    assert nlp.evaluate(examples)[score] == 1.0
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert loaded(text).to_json() == nlp(text).to_json()
    assert [doc.to_json() for doc in loaded.pipe(["", text])] == [
        doc.to_json() for doc in nlp.pipe(["", text])
    ]


def test_model_cannot_be_sized_without_a_sample_of_the_truth():
    model = build_token_classifier(build_hash_embed_cnn())
    with pytest.raises(ValueError, match="sized by its labels: initialize it with a sample"):
        model.initialize(X=[spacy.blank("en").make_doc("a b")])


def test_encoder_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="the encoder must be an Encoder, got None"):
        build_token_classifier(None)


def test_encoder_may_be_the_tok2vec_inside_the_stock_ensemble():
    nlp = spacy.blank("en")
    model = {
        "@architectures": "spacy.TextCatEnsemble.v2",
        "tok2vec": {"@architectures": "spacy-torch.Tok2Vec.v1", "encoder": ENCODER},
        "linear_model": {
            "@architectures": "spacy.TextCatBOW.v3",
            "exclusive_classes": True,
            "length": 64,
            "ngram_size": 1,
            "no_output_layer": False,
        },
    }
    nlp.add_pipe("textcat", config={"model": model})
    texts = {"good": {"a": 1.0, "b": 0.0}, "bad": {"a": 0.0, "b": 1.0}}
    examples = [Example.from_dict(nlp.make_doc(t), {"cats": cats}) for t, cats in texts.items()]
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(50):
        nlp.update(examples, sgd=optimizer)
    assert nlp.evaluate(examples)["cats_macro_f"] == 1.0
