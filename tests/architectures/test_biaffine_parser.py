"""The parser's model, apart from its component."""

import pytest
import spacy

from spacy_torch.architectures.biaffine_parser import build_biaffine_parser
from spacy_torch.architectures.hash_embed_cnn import build_hash_embed_cnn
from spacy_torch.bridge.model import get_shim, run_tensors


def build_small(**settings):
    encoder = build_hash_embed_cnn(width=16, depth=1, attrs=["NORM"], rows=[100])
    return build_biaffine_parser(encoder, **settings)


def test_model_gives_a_row_per_token_and_the_weights_of_the_labels():
    nlp = spacy.blank("en")
    docs = [nlp.make_doc("a b c"), nlp.make_doc(""), nlp.make_doc("d")]
    model = build_small(arc_width=8, label_width=4)
    model.initialize(X=docs, Y=5)
    factors, _ = run_tensors(model.get_ref("logits"), docs, is_train=False)
    assert factors.starts.shape == factors.roots.shape == (4,)
    assert factors.dependents.shape == factors.heads.shape == (4, 8)
    assert factors.label_dependents.shape == factors.label_heads.shape == (4, 4)
    assert factors.label_weights.shape == (5, 5, 5)
    arrays = model.predict(docs)
    assert arrays.heads.tolist() == factors.heads.tolist()


def test_labels_added_later_leave_the_learned_ones_in_place():
    docs = [spacy.blank("en").make_doc("a b")]
    model = build_small()
    model.initialize(X=docs, Y=2)
    shim = get_shim(model.get_ref("logits"))
    shim.module.label_weights.data.normal_()
    before = shim.module.label_weights.clone()
    model.attrs["resize_output"](model, 3)
    after = shim.module.label_weights
    assert after.shape[-1] == 3
    assert after[..., :2].equal(before)
    assert not after[..., 2].any()


def test_model_cannot_be_sized_without_the_number_of_labels():
    with pytest.raises(ValueError, match="is sized by its labels: initialize it with"):
        build_small().initialize(X=[spacy.blank("en").make_doc("a b")])


def test_encoder_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="the encoder must be an Encoder, got None"):
        build_biaffine_parser(None)


def test_width_of_nothing_is_refused():
    model = build_small(label_width=0)
    with pytest.raises(ValueError, match="must be at least 1, got 128 and 0"):
        model.initialize(X=[spacy.blank("en").make_doc("a b")], Y=2)
