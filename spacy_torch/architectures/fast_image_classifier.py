"""`spacy-torch.FastImageClassifier.v1`: learns each answer about a picture at once."""

from __future__ import annotations

from functools import partial

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_torch.architectures.classifier import build_classifier
from spacy_torch.architectures.fast_slow import FastSlowFeatures, SlowPart, build_fast_slow
from spacy_torch.architectures.image_encoder import ImageEncoder, check_image_encoder
from spacy_torch.architectures.patch_dictionary import build_patch_dictionary
from spacy_torch.bridge.building import ModuleBuilder, build_sized
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.features.picture_batches import PictureReader, picture_keys
from spacy_torch.nn.fast.pool_pictures import PoolPictures
from spacy_torch.nn.image_classifier import GridFeatures


def build_fast_image_classifier(
    *,
    exclusive_classes: bool,
    encoder: ImageEncoder | None = None,
    slow: Model[list[Doc], Floats2d] | None = None,
    size: int | None = None,
    grid: int = 4,
    width: int = 256,
    cache_mb: float = 64.0,
    runtime: Runtime | None = None,
) -> Model[list[Doc], Floats2d]:
    """A ridge regression on frozen features of pictures, beside a network.

    For annotation: useful after the first few answers, each of which is learned in
    milliseconds. What pictures are told apart by comes from pictures without labels (`pool` in
    the component's initialization), so give it all that there are. Components of this package
    tell it the answers; in a stock component only `slow` learns.

    Args:
        exclusive_classes: exactly one label is true, or any number.
        encoder: reads the pixels and learns nothing by gradient; by default a dictionary of
            patches. Where pictures are photographs, `spacy-torch.EfficientNetLite.v1` knows
            more from the start.
        slow: any classifier of pictures of this package, such as `spacy-torch.ImageClassifier.v1`
            with `spacy-torch.ImageCNN.v1`: it learns by gradient on top of the fast part. null:
            the fast part alone.
        size: the side of the squares that the fast part reads, in pixels; null: what the encoder
            asks for.
        grid: see `nn.image_classifier.GridFeatures`.
        width: how many directions of the pool's features are kept.
        cache_mb: how much is kept of the fast part's features, in megabytes.
        runtime: device, precision and the reaction to NaN.

    Raises:
        ValueError: the encoder learns by gradient.
    """
    name = "spacy-torch.FastImageClassifier.v1"
    if width < 1:
        raise ValueError(f"{name}: width must be at least 1, got {width}")
    encoder = encoder if encoder is not None else build_patch_dictionary()
    check_image_encoder(encoder, name=name)
    if not encoder.is_frozen:
        raise ValueError(
            f"{name}: the encoder must be frozen, but this one learns by gradient, and what was "
            "answered would no longer fit: set freeze = true, or use it in the slow part"
        )
    slow_part = SlowPart.of(slow, name=name, exclusive_classes=exclusive_classes)
    features = partial(
        build_pool_pictures,
        encoder.build,
        encoder_width=encoder.width,
        grid=grid,
        width=width,
        cache_mb=cache_mb,
    )
    return build_classifier(
        partial(
            build_fast_slow,
            features,
            slow_part.build if slow_part is not None else None,
            width=width,
            exclusive=exclusive_classes,
        ),
        FastSlowFeatures(
            picture_keys,
            PictureReader(size or encoder.size),
            slow_part.featurize if slow_part is not None else None,
        ),
        name=name,
        exclusive_classes=exclusive_classes,
        measure=slow_part.measure if slow_part is not None else None,
        runtime=runtime,
    )


def build_pool_pictures(
    build_encoder: ModuleBuilder, *, encoder_width: int, grid: int, width: int, cache_mb: float
) -> PoolPictures:
    """The frozen features of `build_fast_image_classifier`."""
    features = GridFeatures(build_sized(build_encoder, {}), width=encoder_width, grid=grid)
    return PoolPictures(features, n_features=features.n_features, width=width, cache_mb=cache_mb)
