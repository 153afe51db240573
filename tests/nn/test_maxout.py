import pytest
import torch

from spacy_torch.nn.maxout import MaxoutNorm, maxout


@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_maxout_and_its_gradient_equal_torch_max(pieces):
    values = torch.randn(6, pieces * 4, requires_grad=True)
    weights = torch.randn(6, 4)
    expected = values.view(6, pieces, 4).max(1).values
    (d_expected,) = torch.autograd.grad((expected * weights).sum(), values)
    actual = maxout(values, pieces)
    (d_actual,) = torch.autograd.grad((actual * weights).sum(), values)
    assert torch.equal(actual, expected)
    assert torch.equal(d_actual, d_expected)
    assert torch.equal(maxout(values.detach(), pieces), expected)


def test_first_of_equal_pieces_gets_the_gradient():
    values = torch.zeros(2, 6, requires_grad=True)
    maxout(values, 3).sum().backward()
    assert values.grad.tolist() == [[1.0, 1.0, 0.0, 0.0, 0.0, 0.0]] * 2


def test_gradient_of_maxout_is_that_of_finite_differences():
    values = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: maxout(x, 3), values)


def test_no_rows_give_no_rows():
    layer = MaxoutNorm(5, width=4, pieces=3, dropout=None)
    assert layer(torch.zeros(0, 5)).shape == (0, 4)
    with torch.no_grad():
        assert layer(torch.zeros(0, 5)).shape == (0, 4)
