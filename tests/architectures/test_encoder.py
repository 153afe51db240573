"""What can go wrong where an architecture expects an encoder, and what the error then says."""

from collections.abc import Sequence
from typing import Any

import pytest
import spacy
import torch
from spacy.ml.models.tok2vec import tok2vec_listener_v1
from spacy.tokens import Doc
from thinc.api import Linear
from torch import Tensor, nn

from spacy_torch import Encoder, Ragged
from spacy_torch.architectures.ensemble import build_ensemble_classifier
from spacy_torch.architectures.text_classifier import build_text_classifier
from spacy_torch.architectures.tok2vec import build_tok2vec

WIDTH = 3
vocab = spacy.blank("en").vocab


class Lookup(nn.Module):
    """A vector per token, a number per document beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, WIDTH)

    def forward(self, batch: tuple[Tensor, Tensor]) -> Any:
        ids, lengths = batch
        return Ragged(self.embed(ids), lengths)


class Padded(Lookup):
    def forward(self, batch: tuple[Tensor, Tensor]) -> Any:
        padded, _ = super().forward(batch).to_padded()
        return padded


class Swapped(Lookup):
    def forward(self, batch: tuple[Tensor, Tensor]) -> Any:
        return Ragged(super().forward(batch).values, batch[1].flip(0))


def number_tokens(docs: Sequence[Doc]) -> tuple[Tensor, Tensor]:
    ids = [token.orth % 11 for doc in docs for token in doc]
    lengths = [len(doc) for doc in docs]
    return torch.tensor(ids, dtype=torch.int64), torch.tensor(lengths, dtype=torch.int64)


def make_docs(*texts: str) -> list[Doc]:
    return [Doc(vocab, words=text.split()) for text in texts]


def build(module: type[nn.Module], width: int = WIDTH) -> Any:
    model = build_tok2vec(Encoder(build=module, featurize=number_tokens, width=width))
    return model.initialize()


@pytest.mark.parametrize("texts", [["a b", "", "c"], ["", ""], [""], []])
def test_own_encoder_gives_a_vector_per_token(texts):
    docs = make_docs(*texts)
    model = build(Lookup)
    vectors, backprop = model.begin_update(docs)
    assert [rows.shape for rows in vectors] == [(len(doc), WIDTH) for doc in docs]
    backprop(vectors)
    assert [rows.shape for rows in model.predict(docs)] == [(len(doc), WIDTH) for doc in docs]


def test_encoder_that_returns_padded_vectors_is_refused():
    message = (
        r"spacy-torch.Tok2Vec.v1: the encoder must return Ragged\(values, lengths\), values a "
        r"float tensor of shape \(token, width\) = \(3, 3\), but it returned a Tensor of type "
        r"torch.float32 and shape \(2, 2, 3\): wrap it with Ragged\(values, batch.lengths\) or"
    )
    with pytest.raises(TypeError, match=message):
        build(Padded).predict(make_docs("a b", "c"))


def test_encoder_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"values of shape \(3, 3\): make the vectors as wide as"):
        build(Lookup, width=4).predict(make_docs("a b", "c"))


def test_encoder_with_the_lengths_of_other_documents_is_refused():
    with pytest.raises(ValueError, match="not the documents': hand on batch.lengths"):
        build(Swapped).predict(make_docs("a b", "c"))


@pytest.mark.parametrize("builder", [Lookup(), 3, None])
def test_encoder_needs_a_builder_and_not_a_module(builder):
    message = (
        "Encoder, argument `build`: expected a builder of the torch module.*"
        f"{'pass the class itself' if isinstance(builder, nn.Module) else f'got {builder}'}"
    )
    with pytest.raises(TypeError, match=message):
        Encoder(build=builder, featurize=number_tokens, width=WIDTH)


@pytest.mark.parametrize(
    ("build_with", "name"),
    [
        (build_tok2vec, "Tok2Vec.v1"),
        (lambda encoder: build_text_classifier(encoder, exclusive_classes=True), "TextCat.v1"),
        (
            lambda encoder: build_ensemble_classifier(exclusive_classes=True, encoder=encoder),
            "TextCatEnsemble.v1",
        ),
    ],
)
@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (Lookup(), r"got a Lookup \(a torch module\): return Encoder\(build=Lookup, featurize="),
        (Lookup, r"got the class Lookup: return Encoder\(build=Lookup, featurize="),
        (Linear(), r"got a Model \(the Thinc model 'linear'\): wrap it with @torch_encoders = "
         r'"spacy-torch.FromTok2Vec.v1"'),
        (tok2vec_listener_v1(width=3), r"got a Tok2VecListener .*wrap it with @torch_encoders"),
        ("HashEmbedCNN", r"got a str: register a function under @torch_encoders that returns an"),
    ],
)  # fmt: skip
def test_something_else_than_an_encoder_is_refused(build_with, name, encoder, message):
    with pytest.raises(
        TypeError, match=f"spacy-torch.{name}: the encoder must be an Encoder, {message}"
    ):
        build_with(encoder)


def test_missing_encoder_is_refused_where_there_is_no_default():
    with pytest.raises(TypeError, match=r"got None: end the function .* `return Encoder\(\.\.\.\)"):
        build_tok2vec(None)
