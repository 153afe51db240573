import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Example
from tiny_pictures import draw_stripes

from spacy_torch.architectures.from_tok2vec import build_from_tok2vec
from spacy_torch.architectures.hash_embed_cnn import build_hash_embed_cnn
from spacy_torch.architectures.image_and_text import build_image_and_text
from spacy_torch.architectures.image_cnn import build_image_cnn
from spacy_torch.features.image_docs import set_picture
from spacy_torch.nn.image_and_text import ImageAndTextClassifier

MODEL = {
    "@architectures": "spacy-torch.ImageAndText.v1",
    "exclusive_classes": True,
    "grid": 2,
    "image": {"@torch_encoders": "spacy-torch.PatchDictionary.v1", "size": 16, "width": 20},
    "text": {
        "@torch_encoders": "spacy-torch.HashEmbedCNN.v1",
        "width": 16,
        "depth": 1,
        "attrs": ["NORM"],
        "rows": [200],
    },
}
# The truth depends on both: "yes" where the caption is right.
CASES = [
    (caption, label, seed)
    for seed in range(6)
    for caption in ("across", "down")
    for label in ("across", "down")
]


def make_example(nlp, caption, label, seed):
    doc = nlp.make_doc(f"stripes {caption}")
    set_picture(doc, draw_stripes(label, seed=seed))
    cats = {
        f"{word} and {stripes}": float((word, stripes) == (caption, label))
        for word in ("across", "down")
        for stripes in ("across", "down")
    }
    return Example.from_dict(doc, {"cats": cats})


@pytest.mark.parametrize("factory", ["torch_textcat", "torch_image_classifier", "textcat"])
def test_label_of_both_is_learned(factory, tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe(factory, config={"model": MODEL})
    examples = [make_example(nlp, *case) for case in CASES]
    for example in examples:
        example.reference.user_data.update(example.predicted.user_data)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.01
    for _ in range(30):
        nlp.update(examples, sgd=optimizer)
    others = [make_example(nlp, *case[:2], case[2] + 100) for case in CASES]
    assert nlp.evaluate(others)["cats_macro_f"] >= 0.9
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    # The picture goes with the Doc.
    docs = DocBin(docs=[eg.predicted for eg in others], store_user_data=True)
    found = [nlp(doc).cats for doc in DocBin().from_bytes(docs.to_bytes()).get_docs(nlp.vocab)]
    again = [loaded(doc).cats for doc in docs.get_docs(loaded.vocab)]
    assert found == [pytest.approx(scores, abs=1e-5) for scores in again]


def test_caption_without_a_picture_and_picture_without_a_caption_are_read():
    nlp = spacy.blank("en")
    nlp.add_pipe("torch_textcat", config={"model": MODEL})
    examples = [make_example(nlp, *case) for case in CASES]
    nlp.initialize(lambda: examples)
    nlp.update(examples)
    silent = nlp.make_doc("")
    set_picture(silent, draw_stripes("down", seed=1))
    docs = list(nlp.pipe([nlp.make_doc("stripes down"), silent, nlp.make_doc("")]))
    assert all(sum(doc.cats.values()) == pytest.approx(1.0) for doc in docs)
    assert docs[1].cats != docs[2].cats


def test_tok2vec_beside_pictures_is_refused():
    tok2vec = spacy.registry.resolve(
        {"tok2vec": {"@architectures": "spacy.HashEmbedCNN.v2", "width": 16, "depth": 1,
                     "embed_size": 200, "window_size": 1, "maxout_pieces": 2,
                     "subword_features": False, "pretrained_vectors": None}}
    )["tok2vec"]  # fmt: skip
    with pytest.raises(ValueError, match="the text encoder reads the Thinc tok2vec"):
        build_image_and_text(
            build_image_cnn(), build_from_tok2vec(tok2vec=tok2vec), exclusive_classes=True
        )


def test_encoders_in_each_others_place_are_refused():
    image, text = build_image_cnn(), build_hash_embed_cnn()
    with pytest.raises(TypeError, match="must be an ImageEncoder, got an Encoder"):
        build_image_and_text(text, text, exclusive_classes=True)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be an Encoder, got an ImageEncoder"):
        build_image_and_text(image, image, exclusive_classes=True)  # type: ignore[arg-type]


def test_no_pooling_is_refused():
    with pytest.raises(ValueError, match="pooling must name at least one way to pool, got none"):
        ImageAndTextClassifier(
            pictures=None, n_features=1, tokens=None, width=1, pooling=[], dropout=None, n_labels=2
        )
