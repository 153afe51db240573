"""Tables with sparse gradients: only touched rows move, their averages are exact all the same."""

import math

import numpy
import pytest
import torch
from thinc.api import SGD, Adam, RAdam
from thinc.backends import NumpyOps
from torch import nn

from spacy_torch.bridge.averages import averaged_parameters
from spacy_torch.bridge.gradients import coalesce_rows, find_non_finite, gradient_norms
from spacy_torch.bridge.keys import parameter_key
from spacy_torch.bridge.step import step
from spacy_torch.bridge.torch_optimizers import build_adamw, build_sgd

N_ROWS, WIDTH = 30, 4


def sparse_gradient(rows, values=None):
    values = torch.randn(len(rows), WIDTH) if values is None else values
    return torch.sparse_coo_tensor(
        torch.tensor([rows]), values, (N_ROWS, WIDTH), check_invariants=True
    )


def random_rows(generator, *, n=5, distinct=False):
    return sorted(generator.choice(N_ROWS, size=n, replace=not distinct).tolist())


class RowAdam:
    """Adam on touched rows and averages of the whole table, one row after the other."""

    def __init__(self, weights, *, rate, clip, decay):
        self.weights, self.rate, self.clip, self.decay = weights, rate, clip, decay
        self.mom1, self.mom2 = numpy.zeros_like(weights), numpy.zeros_like(weights)
        self.average = numpy.zeros_like(weights)
        self.t = 0

    def step(self, gradient):
        self.t += 1
        summed = {}
        for row, values in gradient:
            summed[row] = summed.get(row, 0.0) + values
        norm = math.sqrt(sum((values**2).sum() for values in summed.values()))
        scale = self.clip / norm if self.clip and norm >= self.clip else 1.0
        for row, values in summed.items():
            values = values * scale
            self.mom1[row] = 0.9 * self.mom1[row] + 0.1 * values
            self.mom2[row] = 0.999 * self.mom2[row] + 0.001 * values**2
            size = self.rate * math.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
            self.weights[row] -= size * self.mom1[row] / (numpy.sqrt(self.mom2[row]) + 1e-8)
            self.weights[row] *= 1 - self.rate * self.decay
        super(NumpyOps, NumpyOps()).update_averages(self.average, self.weights, self.t)


@pytest.mark.parametrize("distinct", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_touched_rows_move_like_adam_and_all_averages_are_exact(distinct, decay):
    parameters = {"table": nn.Parameter(torch.randn(N_ROWS, WIDTH))}
    reference = RowAdam(
        parameters["table"].detach().double().numpy().copy(), rate=0.01, clip=1.0, decay=decay
    )
    optimizer = Adam(0.01, L2=decay, grad_clip=1.0)
    generator = numpy.random.default_rng(0)
    for i in range(60):
        rows = random_rows(generator, n=0 if i == 20 else 5, distinct=distinct)
        gradient = sparse_gradient(rows)
        reference.step(list(zip(rows, gradient._values().double().numpy(), strict=True)))
        parameters["table"].grad = gradient
        step(optimizer, parameters, shim_id=1)
        if i in (10, 30, 59):  # reading must not change anything
            averaged = averaged_parameters(optimizer.averages, parameters, shim_id=1)["table"]
            numpy.testing.assert_allclose(averaged, reference.average, atol=2e-6)
    numpy.testing.assert_allclose(
        parameters["table"].detach(), reference.weights, atol=2e-6, rtol=1e-5
    )


@pytest.mark.parametrize(
    "make", [lambda: Adam(0.01), lambda: RAdam(0.01), lambda: SGD(0.1), lambda: build_adamw(0.01)]
)
def test_a_sparse_gradient_with_every_row_moves_like_a_dense_one(make):
    sparse = {"table": nn.Parameter(torch.randn(N_ROWS, WIDTH))}
    dense = {"table": nn.Parameter(sparse["table"].detach().clone())}
    optimizers = make(), make()
    for _ in range(50):
        gradient = torch.randn(N_ROWS, WIDTH)
        sparse["table"].grad = sparse_gradient(list(range(N_ROWS)), gradient)
        dense["table"].grad = gradient.clone()
        step(optimizers[0], sparse, shim_id=1)
        step(optimizers[1], dense, shim_id=1)
    torch.testing.assert_close(sparse["table"], dense["table"], rtol=1e-6, atol=1e-6)
    if optimizers[0].averages is not None:
        averaged = [
            averaged_parameters(optimizer.averages, parameters, shim_id=1)["table"]
            for optimizer, parameters in zip(optimizers, (sparse, dense), strict=True)
        ]
        torch.testing.assert_close(averaged[0], averaged[1], rtol=1e-6, atol=1e-6)


def test_untouched_rows_keep_their_weights_under_decay_and_momentum():
    for optimizer in (
        Adam(0.1, L2=0.5),
        build_adamw(0.1, weight_decay=0.5),
        build_sgd(0.1, momentum=0.9, weight_decay=0.5),
    ):
        parameters = {"table": nn.Parameter(torch.ones(N_ROWS, WIDTH))}
        for rows in ([2, 5], [5, 7], [7]):
            parameters["table"].grad = sparse_gradient(rows)
            step(optimizer, parameters, shim_id=1)
        moved = (parameters["table"] != 1).any(1).nonzero().flatten().tolist()
        assert moved == [2, 5, 7]


@pytest.mark.parametrize("dense_at", [0, 3, 9])
def test_dense_and_sparse_gradients_of_one_table_may_alternate(dense_at):
    """State kept by row is spread out; the averages stay exact."""
    parameters = {"table": nn.Parameter(torch.randn(N_ROWS, WIDTH))}
    optimizer, generator = Adam(0.01), numpy.random.default_rng(1)
    average = numpy.zeros((N_ROWS, WIDTH))
    mom1 = numpy.zeros((N_ROWS, WIDTH))
    for i in range(10):
        rows = list(range(N_ROWS)) if i == dense_at else random_rows(generator, distinct=True)
        gradient = sparse_gradient(rows)
        mom1[rows] = 0.9 * mom1[rows] + 0.1 * gradient._values().numpy()
        parameters["table"].grad = gradient.to_dense() if i == dense_at else gradient
        step(optimizer, parameters, shim_id=1, norms={"table": 0.5})
        weights = parameters["table"].detach().double().numpy()
        super(NumpyOps, NumpyOps()).update_averages(average, weights, i + 1)
    key = parameter_key(1, "table")
    numpy.testing.assert_allclose(optimizer.mom1[key], mom1, atol=1e-6)
    averaged = averaged_parameters(optimizer.averages, parameters, shim_id=1)["table"]
    numpy.testing.assert_allclose(averaged, average, atol=2e-6)


def test_half_precision_tables_follow_fp32_rows():
    half = {"table": nn.Parameter(torch.ones(N_ROWS, WIDTH, dtype=torch.bfloat16))}
    full = {"table": nn.Parameter(torch.ones(N_ROWS, WIDTH))}
    optimizers = Adam(1e-4), Adam(1e-4)
    for _ in range(200):
        gradient = sparse_gradient([3, 4], torch.full((2, WIDTH), 0.25))
        half["table"].grad = gradient.to(torch.bfloat16)
        full["table"].grad = gradient
        step(optimizers[0], half, shim_id=1)
        step(optimizers[1], full, shim_id=1)
    assert torch.equal(half["table"], full["table"].to(torch.bfloat16))
    assert half["table"][3, 0] < 1


def test_a_new_label_widens_a_table_and_keeps_its_learned_part():
    optimizer, parameters = Adam(0.1), {"table": nn.Parameter(torch.ones(N_ROWS, WIDTH))}
    parameters["table"].grad = sparse_gradient([8, 3, 5])
    step(optimizer, parameters, shim_id=1)
    key = parameter_key(1, "table")
    old = optimizer.mom1[key][:3].clone()  # slots are given out to rows 3, 5, 8
    grown = nn.Parameter(torch.ones(N_ROWS + 2, WIDTH + 1))
    grown.grad = torch.sparse_coo_tensor(
        [[5, N_ROWS + 1]], torch.zeros(2, WIDTH + 1), grown.shape, check_invariants=True
    )
    step(optimizer, {"table": grown}, shim_id=1)
    expected = old * torch.tensor([1.0, 0.9, 1.0])[:, None]
    torch.testing.assert_close(optimizer.mom1[key][:3, :WIDTH], expected)
    assert optimizer.mom1[key][3].tolist() == [0.0] * (WIDTH + 1)
    averaged = averaged_parameters(optimizer.averages, {"table": grown}, shim_id=1)["table"]
    assert averaged.shape == grown.shape


def test_norm_of_a_sparse_gradient_counts_duplicate_rows_once():
    parameter = nn.Parameter(torch.zeros(N_ROWS, WIDTH))
    parameter.grad = sparse_gradient([1, 1], torch.tensor([[3.0, 0, 0, 0], [1.0, 3.0, 0, 0]]))
    assert gradient_norms({"table": parameter})["table"] == pytest.approx(5.0)  # (4, 3, 0, 0)


def test_ascending_rows_are_not_sorted_again():
    gradient = sparse_gradient([1, 4, 9])
    coalesced = coalesce_rows(gradient)
    assert coalesced.is_coalesced()
    assert coalesced.values().data_ptr() == gradient._values().data_ptr()
    assert coalesce_rows(sparse_gradient([4, 1])).indices().tolist() == [[1, 4]]


def test_gradients_that_are_not_finite_are_named():
    parameters = {name: nn.Parameter(torch.zeros(N_ROWS, WIDTH)) for name in "abcd"}
    parameters["a"].grad = torch.full((N_ROWS, WIDTH), float("nan"))
    parameters["b"].grad = sparse_gradient([1], torch.tensor([[1.0, float("inf"), 0, 0]]))
    parameters["c"].grad = torch.full((N_ROWS, WIDTH), 1e30)  # its square is not an fp32 number
    norms = gradient_norms(parameters)
    assert set(norms) == {"a", "b", "c"}
    assert norms["c"] == pytest.approx(1e30 * math.sqrt(N_ROWS * WIDTH))
    assert find_non_finite(norms) == ["a", "b"]


def test_an_embedding_trained_through_autograd_steps():
    module = nn.EmbeddingBag(N_ROWS, WIDTH, sparse=True, mode="sum")
    before = module.weight.detach().clone()
    module(torch.tensor([4, 2, 4]), torch.tensor([0, 2])).sum().backward()
    step(Adam(0.1), dict(module.named_parameters()), shim_id=1)
    moved = (module.weight != before).any(1).nonzero().flatten().tolist()
    assert moved == [2, 4]
