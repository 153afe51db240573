import numpy
import pytest
import spacy
from spacy.training import Example
from tiny_pictures import count_right, make_examples, make_nlp, make_picture_doc, train
from torch import nn

from spacy_torch.architectures.image_classifier import build_image_classifier
from spacy_torch.bridge.model import get_shim
from spacy_torch.registry import encoders

ENCODERS = {
    "cnn": {"@torch_encoders": "spacy-torch.ImageCNN.v1", "size": 16, "width": 16, "depth": 2},
    "patches": {"@torch_encoders": "spacy-torch.PatchDictionary.v1", "size": 16, "width": 20},
}


def make_model(encoder: str, *, exclusive: bool = True, **settings: object) -> dict:
    return {
        "@architectures": "spacy-torch.ImageClassifier.v1",
        "exclusive_classes": exclusive,
        "grid": 2,
        "encoder": ENCODERS[encoder],
        **settings,
    }


def find_scores(nlp: spacy.Language) -> numpy.ndarray:
    docs = nlp.pipe(eg.predicted for eg in make_examples(nlp, 6, first_seed=1000))
    return numpy.array([list(doc.cats.values()) for doc in docs])


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(
    "factory", ["textcat", "textcat_multilabel", "torch_textcat", "torch_textcat_multilabel"]
)
def test_classifier_of_texts_reads_pictures(factory, encoder, tmp_path):
    nlp = make_nlp(factory, make_model(encoder, exclusive="multilabel" not in factory))
    # The sample that spaCy initializes with is what a dictionary of patches learns from.
    train(nlp, [with_picture_in_both(eg) for eg in make_examples(nlp)], steps=30)
    assert count_right(nlp) >= 0.9
    nlp.to_disk(tmp_path)
    numpy.testing.assert_allclose(find_scores(spacy.load(tmp_path)), find_scores(nlp), atol=1e-6)


def with_picture_in_both(example: Example) -> Example:
    example.reference.user_data.update(example.predicted.user_data)
    return example


def test_views_are_only_for_training():
    nlp = make_nlp("torch_textcat", make_model("cnn", flip=True, shift=0.2, zoom=0.2, colour=0.2))
    train(nlp, make_examples(nlp), steps=5)
    numpy.testing.assert_array_equal(find_scores(nlp), find_scores(nlp))


def test_picture_is_brought_to_the_size_that_is_asked_for():
    docs = [make_picture_doc(spacy.blank("en"), "down", seed=0)]
    for size, expected in ((None, 16), (24, 24)):
        model = build_image_classifier(make_encoder(), exclusive_classes=True, size=size)
        batch = model.get_ref("logits").attrs["featurize"](docs)
        assert batch.read_all().shape == (1, 3, expected, expected)


def make_encoder():
    return encoders.get("spacy-torch.ImageCNN.v1")(size=16, width=16, depth=2)


def test_dictionary_is_learned_from_the_sample():
    nlp = make_nlp("torch_textcat", make_model("patches"))
    examples = [with_picture_in_both(eg) for eg in make_examples(nlp)]
    nlp.initialize(lambda: examples)
    encoder = get_shim(nlp.get_pipe("torch_textcat").logits_model).module.features.features.encoder
    fresh = encoders.get("spacy-torch.PatchDictionary.v1")(width=20).build()
    assert not numpy.allclose(encoder.filters, fresh.filters)


def test_encoder_of_tokens_is_refused():
    with pytest.raises(TypeError, match="ImageClassifier.v1: the encoder must be an ImageEncoder"):
        build_image_classifier(nn.Linear(1, 1), exclusive_classes=True)  # type: ignore[arg-type]
