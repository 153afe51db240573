"""The encoder: what a head needs to know about the module that reads the tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spacy.tokens import Doc
from thinc.api import Model
from torch import nn

from spacy_torch.bridge.building import ModuleBuilder, check_builder
from spacy_torch.nn.encoder_output import check_tokens

MeasureDocs = Callable[[Sequence[Doc]], Mapping[str, Any]]


@dataclass(frozen=True)
class Encoder:
    """How to build a token encoder and how to feed it.

    A batch may hold documents without tokens, or nothing else: the module must then
    return a length of 0 for each, and `values` of shape (0, width).

    Attributes:
        build: builds the module; called late, with those keyword sizes that it takes
            (see `measure`). The module maps a featurized batch to `Ragged` vectors, one
            row per token in the order of the documents. If it has a method
            `load_pretrained`, that is called at initialization and not on loading.
        featurize: documents -> the batch for the module, any nest of arrays and
            tensors. Must be picklable: a class instance or a module-level function.
            With `upstream`, called with the documents and the upstream vectors as
            `(values, lengths)` tensors.
        width: the size of the vectors.
        measure: documents -> keyword sizes that only the data knows, such as the width
            of the static vectors; stored with the weights. What a number cannot say is
            a dict of plain JSON.
        upstream: a Thinc model from documents to `list[Floats2d]` that runs first.
    """

    build: ModuleBuilder
    featurize: Callable[..., Any]
    width: int
    measure: MeasureDocs | None = None
    upstream: Model[Any, Any] | None = None

    def __post_init__(self) -> None:
        check_builder(self.build, name="Encoder, argument `build`")

    def __getattr__(self, name: str) -> Any:
        # A stock architecture that was given an encoder as its tok2vec asks for has_dim first.
        raise AttributeError(
            f"An Encoder has no {name!r}: it is no Thinc model. To use it as a tok2vec, put it "
            'into the [encoder] block of a model with @architectures = "spacy-torch.Tok2Vec.v1"'
        )


def check_encoder(encoder: object, *, name: str) -> None:
    """Raise a `TypeError` if an architecture was given something else than an `Encoder`."""
    if isinstance(encoder, Encoder):
        return
    what = f"a {type(encoder).__name__}"
    step = "register a function under @torch_encoders that returns an Encoder"
    if isinstance(encoder, nn.Module):
        what += " (a torch module)"
        step = (
            f"return Encoder(build={type(encoder).__name__}, featurize=..., width=...) from "
            "your function"
        )
    elif isinstance(encoder, type):
        what = f"the class {encoder.__name__}"
        step = f"return Encoder(build={encoder.__name__}, featurize=..., width=...)"
    elif isinstance(encoder, Model):
        what += f" (the Thinc model {encoder.name!r})"
        step = 'wrap it with @torch_encoders = "spacy-torch.FromTok2Vec.v1" as its tok2vec'
        if encoder.name == "spacy-torch.Tok2Vec.v1":
            step = "use what is in its [encoder] block"
    elif encoder is None:
        what = "None"
        step = "end the function that builds it with `return Encoder(...)`"
    elif type(encoder).__name__ == "ImageEncoder":  # which imports this module
        what = "an ImageEncoder, which reads pixels"
        step = "use one that reads tokens, such as spacy-torch.HashEmbedCNN.v1"
    raise TypeError(f"{name}: the encoder must be an Encoder, got {what}: {step}")


def measure_labels(docs: Sequence[Doc] | None, Y: int, *, encoder: Encoder) -> dict[str, Any]:
    """The number of labels, given as the truth, and the sizes that the encoder takes."""
    return {"n_labels": Y, **measure_sample(docs, Y, measure=encoder.measure)}


def measure_sample(
    docs: Sequence[Doc] | None, Y: Any, *, measure: MeasureDocs | None
) -> dict[str, Any]:
    """The sizes that an encoder takes from the documents of an initialization."""
    return dict(measure(docs or [])) if measure is not None else {}


def check_encoded(
    docs: Sequence[Doc], tokens: Any, sizes: Mapping[str, Any], *, name: str, width: int
) -> None:
    """Hold what an encoder's module returned against its documents.

    Raises:
        TypeError: it is no `Ragged` of float tensors.
        ValueError: its shape or its lengths do not fit the documents.
    """
    check_tokens(tokens, name=name, width=width, lengths=[len(doc) for doc in docs])
