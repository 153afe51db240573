"""What an encoder may get wrong in what it returns, and what the error then says."""

from typing import Any

import pytest
import torch
from torch import nn

from spacy_torch.nn.encoder_output import check_tokens
from spacy_torch.nn.hash_embed import MultiHashEmbed, TokenBatch
from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.text_classifier import TextClassifier

LENGTHS = torch.tensor([4, 2])
VALUES = torch.zeros(6, 96)


class Returning(nn.Module):
    def __init__(self, returned: Any) -> None:
        super().__init__()
        self.returned = returned

    def forward(self, batch: Any) -> Any:
        return self.returned


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (torch.zeros(2, 4, 96), TypeError, r"a Tensor of type torch.float32 and shape \(2, 4, 96\)"
         r": wrap it with Ragged\(values, batch.lengths\) or Ragged.from_padded\(padded, mask\)"),
        ((VALUES, LENGTHS), TypeError, "returned a tuple: wrap it with Ragged"),
        (None, TypeError, "returned a NoneType: wrap it with Ragged"),
        (Ragged(VALUES.long(), LENGTHS), TypeError,
         r"a Tensor of type torch.int64 and shape \(6, 96\) as values: return vectors, not ids"),
        (Ragged(VALUES.numpy(), LENGTHS), TypeError, "a ndarray as values: return vectors"),
        (Ragged(VALUES, [4, 2]), TypeError, "a list as lengths: give one integer per sequence"),
        (Ragged(VALUES, LENGTHS.float()), TypeError, "torch.float32 and .* as lengths: give one"),
        (Ragged(torch.zeros(6, 64), LENGTHS), ValueError,
         r"values of shape \(6, 64\): make the vectors as wide as the Encoder's width"),
        (Ragged(torch.zeros(2, 3, 96), LENGTHS), ValueError, r"values of shape \(2, 3, 96\)"),
        (Ragged(torch.zeros(5, 96), LENGTHS), ValueError,
         r"5 rows for 6 tokens: give one row per token.*values\[batch.inverse\]"),
    ],
)  # fmt: skip
def test_encoder_that_returns_no_token_vectors_says_what_it_returned(returned, error, message):
    expected = r"must return Ragged\(values, lengths\), values a float tensor of shape "
    with pytest.raises(error, match=rf"^mine: .*{expected}\(token, width\) = \(6, 96\).*{message}"):
        check_tokens(returned, name="mine", width=96, lengths=[4, 2])
    classifier = TextClassifier(Returning(returned), width=96, n_labels=2)
    with pytest.raises(error, match=rf"^TextClassifier: .*{expected}\(token, 96\).*{message}"):
        classifier(None)


@pytest.mark.parametrize("lengths", [[2, 4], [6], [4, 2, 0]])
def test_lengths_of_other_documents_are_refused(lengths):
    tokens = Ragged(VALUES, torch.tensor(lengths))
    with pytest.raises(ValueError, match="that are not the documents': hand on batch.lengths as"):
        check_tokens(tokens, name="mine", width=96, lengths=[4, 2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("lengths", [[4, 2], [0, 6, 0], [0], []])
def test_vectors_of_any_float_type_and_of_no_tokens_pass(dtype, lengths):
    values = torch.zeros(sum(lengths), 96, dtype=dtype)
    tokens = Ragged(values, torch.tensor(lengths, dtype=torch.int64))
    check_tokens(tokens, name="mine", width=96)
    check_tokens(tokens, name="mine", width=96, lengths=lengths)


def test_lengths_on_another_device_are_not_waited_for():
    tokens = Ragged(VALUES.to("meta"), torch.tensor([1, 1], device="meta"))
    check_tokens(tokens, name="mine", width=96)
    check_tokens(tokens, name="mine", width=96, lengths=[4, 2])


def test_rows_of_types_become_rows_of_tokens_by_the_inverse():
    batch = TokenBatch(
        rows=torch.tensor([[[0, 1, 2, 3]], [[4, 5, 6, 7]]]),
        inverse=torch.tensor([1, 0, 1]),
        lengths=torch.tensor([3]),
        keys=torch.tensor([10, 20]),
    )
    types = MultiHashEmbed([8], width=4).eval()(batch)
    tokens = types[batch.inverse]
    assert len(types) == 2
    assert torch.equal(tokens[0], tokens[2])
    check_tokens(Ragged(tokens, batch.lengths), name="mine", width=4, lengths=[3])
