"""`spacy-torch.FromTok2Vec.v1`: any Thinc tok2vec, also a listener, as an encoder."""

from __future__ import annotations

from collections.abc import Sequence

from spacy.tokens import Doc
from thinc.api import Model
from thinc.types import Floats2d
from torch import Tensor, nn

from spacy_torch.architectures.encoder import Encoder
from spacy_torch.nn.ragged import Ragged


def build_from_tok2vec(tok2vec: Model[list[Doc], list[Floats2d]]) -> Encoder:
    """Sit on the vectors of a stock tok2vec or of a `spacy.Tok2VecListener.v1`.

    Raises:
        ValueError: the width of the tok2vec is not known from its config.
    """
    if not tok2vec.has_dim("nO"):
        raise ValueError(
            f"The tok2vec {tok2vec.name!r} does not say how wide its vectors are: give it a "
            "width in the config (a listener takes ${components.tok2vec.model.encode.width})"
        )
    return Encoder(
        build=nn.Identity,
        featurize=take_upstream,
        width=tok2vec.get_dim("nO"),
        upstream=tok2vec,
    )


def take_upstream(docs: Sequence[Doc], vectors: tuple[Tensor, Tensor]) -> Ragged:
    """The upstream vectors as they are."""
    return Ragged(*vectors)
