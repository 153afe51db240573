"""A frozen encoder as the features of a fast classifier of texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from spacy.tokens import Doc

from spacy_torch.architectures.encoder import Encoder, MeasureDocs, check_encoder
from spacy_torch.bridge.arrays import to_tensors
from spacy_torch.bridge.building import ModuleBuilder, build_sized
from spacy_torch.features.keys import text_keys
from spacy_torch.nn.fast.encoded_texts import EncodedTexts, TextBatch


class FastPart(NamedTuple):
    """The features of a fast classifier, to be built and fed as a part of it.

    Attributes:
        build: builds the module that makes rows of shape (batch, width).
        featurize: documents -> what that module takes.
        width: the size of a row.
        measure: see `Encoder`.
    """

    build: ModuleBuilder
    featurize: Callable[[Sequence[Doc]], Any]
    width: int
    measure: MeasureDocs | None


def read_encoder(encoder: Encoder, *, name: str, cache_mb: float) -> FastPart:
    """The mean vectors of an encoder.

    Raises:
        TypeError: it is none.
        ValueError: it reads what a Thinc model makes of the documents.
    """
    check_encoder(encoder, name=name)
    if encoder.upstream is not None:
        raise ValueError(
            f"{name}: its encoder must be frozen, but this one reads the Thinc tok2vec "
            f"{encoder.upstream.name!r}, which learns: use an encoder of its own, such as "
            "spacy-torch.HFTransformer.v1 with freeze = true"
        )
    return FastPart(
        partial(build_encoded_texts, encoder.build, width=encoder.width, cache_mb=cache_mb),
        TextReader(encoder.featurize),
        encoder.width,
        encoder.measure,
    )


def build_encoded_texts(
    build_encoder: ModuleBuilder, *, width: int, cache_mb: float, **sizes: Any
) -> EncodedTexts:
    """The features of a fast classifier with an encoder."""
    return EncodedTexts(build_sized(build_encoder, sizes), width=width, cache_mb=cache_mb)


def measure_both(
    docs: Sequence[Doc], *, fast: MeasureDocs | None, slow: MeasureDocs | None
) -> Mapping[str, Any]:
    """The sizes that both parts of a classifier take from the data.

    Raises:
        ValueError: they are called the same and differ.
    """
    ours, theirs = (dict(measure(docs)) if measure else {} for measure in (fast, slow))
    differing = sorted(key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key])
    if differing:
        raise ValueError(
            f"the encoders of the fast and of the slow part disagree about {differing}, which they "
            "share: give both the same pretrained model, or the slow one another kind of encoder"
        )
    return {**ours, **theirs}


class TextReader:
    """Documents -> their texts, made ready for an encoder later and only if need be.

    Args:
        featurize: of the encoder.
    """

    def __init__(self, featurize: Callable[[Sequence[Doc]], Any]) -> None:
        self.featurize = featurize

    def __call__(self, docs: Sequence[Doc]) -> TextBatch:
        """The batch for a module."""
        return TextBatch(text_keys(docs), partial(_read, self.featurize, list(docs)))


class _Featurized(NamedTuple):
    """What a featurizer gave, arrays still among it."""

    batch: Any

    def to(self, device: torch.device) -> Any:
        return to_tensors(self.batch, device)


def _read(
    featurize: Callable[[Sequence[Doc]], Any], docs: list[Doc], places: Sequence[int]
) -> _Featurized:
    return _Featurized(featurize([docs[place] for place in places]))
