import pytest
from tiny_boxes import make_examples, make_nlp

from spacy_torch.architectures.image_cnn import build_image_cnn
from spacy_torch.architectures.object_detector import build_object_detector
from spacy_torch.architectures.patch_dictionary import build_patch_dictionary
from spacy_torch.features.picture_batches import picture_keys


def test_encoder_that_learns_by_gradient_is_refused_under_windows():
    with pytest.raises(ValueError, match="must stay the same.*give this one as `slow`"):
        build_object_detector(build_image_cnn())


def test_something_else_than_an_image_encoder_is_refused():
    with pytest.raises(TypeError, match="argument `slow`: the encoder must be an ImageEncoder"):
        build_object_detector(build_patch_dictionary(), slow="ImageCNN")


def test_model_without_labels_is_refused():
    with pytest.raises(ValueError, match="sized by its labels"):
        build_object_detector(build_patch_dictionary()).initialize()


def test_outer_model_gives_what_the_module_finds():
    nlp = make_nlp()
    examples = make_examples(nlp, 3)
    nlp.initialize(lambda: examples)
    model = nlp.get_pipe("torch_object_detector").model
    found = model.predict([eg.predicted for eg in examples])
    assert found.lengths.tolist() == [0, 0, 0]  # nothing was answered yet


def test_held_out_pictures_are_those_that_the_loss_leaves_out():
    nlp = make_nlp()
    pipe = nlp.get_pipe("torch_object_detector")
    examples = make_examples(nlp, 12)
    nlp.initialize(lambda: examples)
    keys = picture_keys([eg.predicted for eg in examples]).tolist()
    losses = {
        key: nlp.update([eg])["torch_object_detector"]
        for key, eg in zip(keys, examples, strict=True)
    }
    held_out = {key for key, loss in losses.items() if loss == 0}
    assert held_out == {key for key in losses if key % pipe.model.attrs["held_out"] == 0}
