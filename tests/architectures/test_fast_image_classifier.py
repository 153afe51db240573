import pytest

from spacy_torch.architectures.fast_image_classifier import build_fast_image_classifier
from spacy_torch.architectures.hash_embed_cnn import build_hash_embed_cnn
from spacy_torch.architectures.image_cnn import build_image_cnn


def test_encoder_that_learns_is_refused():
    with pytest.raises(ValueError, match="the encoder must be frozen.* set freeze = true"):
        build_fast_image_classifier(exclusive_classes=True, encoder=build_image_cnn())


def test_encoder_of_tokens_is_refused():
    with pytest.raises(TypeError, match="FastImageClassifier.v1: .* an Encoder, which reads tok"):
        build_fast_image_classifier(
            exclusive_classes=True,
            encoder=build_hash_embed_cnn(),  # type: ignore[arg-type]
        )


def test_width_without_columns_is_refused():
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        build_fast_image_classifier(exclusive_classes=True, width=0)
