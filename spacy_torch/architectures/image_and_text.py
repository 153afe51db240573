"""`spacy-torch.ImageAndText.v1`: a picture and its caption, read together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_torch.architectures.classifier import build_classifier
from spacy_torch.architectures.encoder import Encoder, check_encoder
from spacy_torch.architectures.image_classifier import learn_sample
from spacy_torch.architectures.image_encoder import ImageEncoder, check_image_encoder
from spacy_torch.bridge.building import ModuleBuilder, build_sized
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.features.picture_batches import PictureReader
from spacy_torch.nn.augmentation import Augmentation
from spacy_torch.nn.dropout import build_dropout
from spacy_torch.nn.image_and_text import ImageAndTextClassifier
from spacy_torch.nn.image_classifier import GridFeatures, PictureFeatures
from spacy_torch.nn.pooling import Pooling


def build_image_and_text(
    image: ImageEncoder,
    text: Encoder,
    *,
    exclusive_classes: bool,
    size: int | None = None,
    grid: int = 4,
    pooling: list[Pooling] = ["mean"],  # noqa: B006  (the config needs to see the default)
    dropout: float | None = None,
    flip: bool = False,
    shift: float = 0.0,
    zoom: float = 0.0,
    colour: float = 0.0,
    cache_mb: float = 64.0,
    runtime: Runtime | None = None,
) -> Model[list[Doc], Floats2d]:
    """The features of a document's picture and of its words side by side, and one linear layer.

    The words come from the pipeline's own tokenizer, the picture from
    `spacy_torch.features.image_docs.set_picture`; a document without a picture is read as if it
    had a grey one.

    Args:
        image: reads the pixels.
        text: reads the tokens.
        exclusive_classes: exactly one label is true, or any number.
        pooling: see `nn.text_classifier.TextClassifier`.
        size, grid, dropout, flip, shift, zoom, colour, cache_mb, runtime: as in
            `spacy-torch.ImageClassifier.v1`.
    """
    name = "spacy-torch.ImageAndText.v1"
    check_image_encoder(image, name=name)
    check_encoder(text, name=name)
    if text.upstream is not None:
        raise ValueError(
            f"{name}: the text encoder reads the Thinc tok2vec {text.upstream.name!r}, which it "
            "cannot do beside pictures: use one of this package, such as "
            "spacy-torch.HashEmbedCNN.v1"
        )
    augmentation = Augmentation(flip=flip, shift=shift, zoom=zoom, colour=colour)
    model = build_classifier(
        partial(
            build_image_and_text_module,
            image.build,
            text.build,
            image_width=image.width,
            grid=grid,
            is_frozen=image.is_frozen,
            augmentation=augmentation,
            cache_mb=cache_mb,
            text_width=text.width,
            pooling=tuple(pooling),
            dropout=dropout,
        ),
        ImageAndTextFeatures(PictureReader(size or image.size, required=False), text.featurize),
        name=name,
        exclusive_classes=exclusive_classes,
        measure=text.measure,
        runtime=runtime,
    )
    model.init = learn_sample
    return model


def build_image_and_text_module(
    build_image: ModuleBuilder,
    build_text: ModuleBuilder,
    *,
    image_width: int,
    grid: int,
    is_frozen: bool,
    augmentation: Augmentation,
    cache_mb: float,
    text_width: int,
    pooling: tuple[Pooling, ...],
    dropout: float | None,
    n_labels: int,
    **sizes: Any,
) -> ImageAndTextClassifier:
    """The torch module of `build_image_and_text`."""
    features = GridFeatures(build_sized(build_image, {}), width=image_width, grid=grid)
    return ImageAndTextClassifier(
        pictures=PictureFeatures(
            features, is_frozen=is_frozen, augmentation=augmentation, cache_mb=cache_mb
        ),
        n_features=features.n_features,
        tokens=build_sized(build_text, sizes),
        width=text_width,
        pooling=pooling,
        dropout=build_dropout(dropout),
        n_labels=n_labels,
    )


class ImageAndTextFeatures:
    """The pictures of a batch and what the encoder of its tokens reads, as a pair."""

    def __init__(self, pictures: PictureReader, text: Callable[..., Any]) -> None:
        self.pictures = pictures
        self.text = text

    def __call__(self, docs: Sequence[Doc]) -> tuple[Any, Any]:
        """Featurize the documents for both."""
        return self.pictures(docs), self.text(docs)
