import pytest
import torch

from spacy_torch.nn.window import window_linear


@pytest.mark.parametrize("n_neighbours", [1, 3, 5])
def test_window_linear_equals_a_product_with_the_gathered_windows(n_neighbours):
    values = torch.randn(9, 4)
    weight, bias = torch.randn(4 * n_neighbours, 6), torch.randn(6)
    windows = torch.stack(
        [values[start : start + n_neighbours].flatten() for start in range(10 - n_neighbours)]
    )
    torch.testing.assert_close(
        window_linear(values, weight, bias), windows @ weight + bias, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("frozen", [0, 1, 2, None])
def test_gradient_is_that_of_finite_differences_also_where_a_part_is_frozen(frozen):
    inputs = [
        torch.randn(shape, dtype=torch.float64, requires_grad=index != frozen)
        for index, shape in enumerate([(6, 2), (6, 3), (3,)])
    ]
    assert torch.autograd.gradcheck(window_linear, inputs)


def test_autocast_computes_in_its_type_and_gives_gradients_in_that_of_the_weight():
    values, bias = torch.randn(6, 2), torch.randn(3)
    weight = torch.randn(6, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = window_linear(values, weight, bias)
    assert outputs.dtype == torch.bfloat16
    outputs.float().sum().backward()
    assert weight.grad.dtype == torch.float32
