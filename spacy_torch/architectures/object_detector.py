"""`spacy-torch.ObjectDetector.v1`: a detector of the first minute beside one of the first hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d

from spacy_torch.architectures.image_encoder import ImageEncoder, check_image_encoder
from spacy_torch.architectures.logits_model import build_around
from spacy_torch.bridge.building import ModuleBuilder, build_sized
from spacy_torch.bridge.model import wrap_module
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.features.picture_batches import PictureReader
from spacy_torch.nn.heatmap_detector import HeatmapDetector
from spacy_torch.nn.known_pictures import HELD_OUT
from spacy_torch.nn.object_detector import ObjectDetector
from spacy_torch.nn.picture_jitter import Flips


def build_object_detector(
    encoder: ImageEncoder,
    *,
    slow: ImageEncoder | None = None,
    hidden_width: int = 64,
    overlap: float = 0.45,
    jitter: float = 0.2,
    flips: Flips = "none",
    cache_mb: float = 64.0,
    runtime: Runtime | None = None,
) -> Model[list[Doc], Any]:
    """Boxes around objects, with labels and probabilities. For `torch_object_detector`.

    Args:
        encoder: the map that windows are laid on; frozen. It says how large pictures are read.
        slow: reads the pixels for a heatmap that learns by gradient; null does without.
        hidden_width: of the heatmap's convolutions, a multiple of 8.
        overlap: above which a likelier box of the same label suppresses another.
        jitter, flips: how pictures are moved at random in training. Mirror them only if what
            is seen in the mirror has the same label.
        cache_mb: how much is kept of the maps of pictures answered last, in megabytes.
        runtime: device, precision and the reaction to NaN.

    Raises:
        TypeError: an encoder is none for images.
        ValueError: the encoder learns by gradient.
    """
    name = "spacy-torch.ObjectDetector.v1"
    check_image_encoder(encoder, name=name)
    if not encoder.is_frozen:
        raise ValueError(
            f"{name}: the features under the windows must stay the same, but its encoder learns by "
            'gradient: use one that is frozen, such as @torch_encoders = "spacy-torch.'
            'PatchDictionary.v1", and give this one as `slow`'
        )
    if slow is not None:
        check_image_encoder(slow, name=f"{name}, argument `slow`")
    logits = wrap_module(
        partial(
            build_detector_module,
            encoder.build,
            width=encoder.width,
            stride=encoder.stride,
            build_slow=None if slow is None else slow.build,
            slow_width=0 if slow is None else slow.width,
            slow_stride=0 if slow is None else slow.stride,
            hidden_width=hidden_width,
            overlap=overlap,
            jitter=jitter,
            flips=flips,
            cache_mb=cache_mb,
        ),
        name=f"{name} logits",
        featurize=PictureReader(encoder.size),
        measure=_measure,
        runtime=runtime,
    )
    return build_around(
        logits,
        _find,
        name=name,
        logits_of="box",
        tok2vec=None,
        size=encoder.size,
        held_out=HELD_OUT,
        has_slow=slow is not None,
    )


def build_detector_module(
    build_encoder: ModuleBuilder,
    *,
    width: int,
    stride: int,
    build_slow: ModuleBuilder | None,
    slow_width: int,
    slow_stride: int,
    hidden_width: int,
    overlap: float,
    jitter: float,
    flips: Flips,
    cache_mb: float,
    n_labels: int,
    n_boxes: int = 0,
) -> ObjectDetector:
    """The torch module of `build_object_detector`."""
    slow = None
    if build_slow is not None:
        slow = HeatmapDetector(
            build_sized(build_slow, {}),
            width=slow_width,
            n_labels=n_labels,
            stride=slow_stride,
            hidden_width=hidden_width,
        )
    return ObjectDetector(
        build_sized(build_encoder, {}),
        width=width,
        stride=stride,
        slow=slow,
        n_labels=n_labels,
        n_boxes=n_boxes,
        overlap=overlap,
        jitter=jitter,
        flips=flips,
        cache_mb=cache_mb,
    )


def _measure(docs: Sequence[Doc] | None, Y: Floats2d | None) -> Mapping[str, int]:
    if Y is None:
        raise ValueError(
            "An object detector is sized by its labels: initialize it with a sample of the truth, "
            "an array of shape (box, label)"
        )
    return {"n_labels": int(Y.shape[1])}


def _find(model: Model[list[Doc], Any], docs: list[Doc], is_train: bool) -> tuple[Any, Any]:
    return model.get_ref("logits")(docs, is_train)
