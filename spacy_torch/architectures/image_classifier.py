"""`spacy-torch.ImageClassifier.v1`: any image encoder, pooled, and one linear layer."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_torch.architectures.classifier import build_classifier
from spacy_torch.architectures.image_encoder import ImageEncoder, check_image_encoder
from spacy_torch.bridge.building import ModuleBuilder, build_sized
from spacy_torch.bridge.model import get_shim
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.features.image_docs import has_picture
from spacy_torch.features.picture_batches import PictureReader
from spacy_torch.nn.augmentation import Augmentation
from spacy_torch.nn.dropout import build_dropout
from spacy_torch.nn.image_classifier import GridFeatures, ImageClassifier, PictureFeatures


def build_image_classifier(
    encoder: ImageEncoder,
    *,
    exclusive_classes: bool,
    size: int | None = None,
    grid: int = 4,
    dropout: float | None = None,
    flip: bool = False,
    shift: float = 0.0,
    zoom: float = 0.0,
    colour: float = 0.0,
    cache_mb: float = 64.0,
    runtime: Runtime | None = None,
) -> Model[list[Doc], Floats2d]:
    """Encode the pixels of a document's picture, pool them over a grid, score the labels.

    Learns by gradient. For `torch_image_classifier`, and also for `textcat`, `torch_textcat`
    and their multilabel kin.

    Args:
        encoder: reads the pixels.
        exclusive_classes: exactly one label is true, or any number.
        size: the side of the squares that pictures are brought to, in pixels; null: what the
            encoder asks for.
        grid: see `nn.image_classifier.GridFeatures`.
        dropout: of the features; null follows `[training.dropout]`.
        flip, shift, zoom, colour: what training may do to a picture, see
            `nn.augmentation.Augmentation`.
        cache_mb: how much is kept of what was computed, in megabytes: the features of a frozen
            encoder, or else the pixels that training reads in every epoch.
        runtime: device, precision and the reaction to NaN.
    """
    name = "spacy-torch.ImageClassifier.v1"
    check_image_encoder(encoder, name=name)
    augmentation = Augmentation(flip=flip, shift=shift, zoom=zoom, colour=colour)
    model = build_classifier(
        partial(
            build_image_module,
            encoder.build,
            width=encoder.width,
            grid=grid,
            is_frozen=encoder.is_frozen,
            augmentation=augmentation,
            cache_mb=cache_mb,
            dropout=dropout,
        ),
        PictureReader(size or encoder.size),
        name=name,
        exclusive_classes=exclusive_classes,
        runtime=runtime,
    )
    model.init = learn_sample
    return model


def build_image_module(
    build_encoder: ModuleBuilder,
    *,
    width: int,
    grid: int,
    is_frozen: bool,
    augmentation: Augmentation,
    cache_mb: float,
    dropout: float | None,
    n_labels: int,
) -> ImageClassifier:
    """The torch module of `build_image_classifier`."""
    features = GridFeatures(build_sized(build_encoder, {}), width=width, grid=grid)
    return ImageClassifier(
        PictureFeatures(
            features, is_frozen=is_frozen, augmentation=augmentation, cache_mb=cache_mb
        ),
        n_features=features.n_features,
        n_labels=n_labels,
        dropout=build_dropout(dropout),
    )


def learn_sample(
    model: Model[list[Doc], Floats2d], X: list[Doc] | None = None, Y: Any = None
) -> None:
    """Initialize a classifier of pictures; an encoder that learns without labels sees the sample.

    Stock components give no more than that. Ours let it learn from a whole pool after it.
    """
    logits = model.get_ref("logits")
    logits.initialize(X, Y)
    docs = [doc for doc in X or [] if has_picture(doc)]
    if docs:
        batch = get_shim(logits).take_batch(logits.attrs["featurize"](docs))
        cast("ImageClassifier", get_shim(logits).module).learn_pool([batch])
