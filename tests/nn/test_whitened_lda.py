import copy

import numpy
import pytest
import torch

from spacy_torch.nn.box_windows import VIEWS, BoxWindows
from spacy_torch.nn.whitened_lda import NEVER, SHRINKAGE, STEEPNESS, WhitenedLDA

WIDTH = 6


def unit_rows(*shape):
    return torch.nn.functional.normalize(torch.randn(*shape, WIDTH), dim=-1)


@pytest.fixture
def lda():
    module = WhitenedLDA(n_features=WIDTH, n_labels=2)
    module.learn_background([unit_rows(200), unit_rows(100)])
    return module


def make_answers(n, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.normalize(
        torch.randn(n, len(VIEWS), WIDTH, generator=generator) + torch.arange(n)[:, None, None] % 2,
        dim=2,
    )
    return [
        {
            "keys": torch.tensor([100 - 7 * number]),
            "pictures": torch.tensor([number // 2]),
            "labels": torch.tensor([number % 2]),
            "verdicts": torch.tensor([int(number % 5 != 3)]),
            "sizes": torch.tensor([[20.0 + number, 10.0 + number]]),
            "windows": BoxWindows(rows[number][None], rows[number][None, :, :4] / 2),
        }
        for number in range(n)
    ]


def answer(module, answers):
    for one in answers:
        module.answer(one["keys"], **{name: one[name] for name in one if name != "keys"})


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_weights_are_those_of_the_formula():
    background = unit_rows(300)
    module = WhitenedLDA(n_features=WIDTH, n_labels=2)
    module.learn_background(background.split(64))
    one = make_answers(1)
    answer(module, one)
    covariance = numpy.cov(background.double().numpy().T, bias=True)
    covariance += SHRINKAGE * numpy.trace(covariance) / WIDTH * numpy.eye(WIDTH)
    mean, ours = background.double().mean(0).numpy(), one[0]["windows"].rows[0].mean(0).numpy()
    expected = numpy.linalg.inv(covariance) @ (ours - mean)
    distance = ((ours - mean) @ expected) ** 0.5
    numpy.testing.assert_allclose(module.weight[0], STEEPNESS / distance * expected, rtol=2e-3)


def test_label_without_boxes_is_never_found(lda):
    answer(lda, make_answers(1))
    assert lda.bias[0] > NEVER
    assert lda.bias[1] == NEVER
    assert not lda.weight[1].any()


def test_order_of_the_answers_leaves_no_trace(lda):
    other = copy.deepcopy(lda)
    answers = make_answers(9)
    answer(lda, answers)
    answer(other, answers[::-1])
    assert_equal(state(lda), state(other))


def test_answer_given_again_changes_nothing(lda):
    answers = make_answers(5)
    answer(lda, answers)
    before = state(lda)
    answer(lda, answers[2:4])
    assert_equal(state(lda), before)


def test_answers_taken_back_never_were(lda):
    answers = make_answers(8)
    answer(lda, answers[:4])
    before = state(lda)
    answer(lda, answers[4:])
    lda.forget(lda.answers.pictures >= 2)
    assert_equal(state(lda), before)


def test_fit_after_loading_is_the_fit_before(lda):
    answers = make_answers(8)
    answer(lda, answers[:6])
    loaded = WhitenedLDA(n_features=WIDTH, n_labels=2, n_boxes=6)
    loaded.load_state_dict(lda.state_dict())
    assert_equal(state(loaded), state(lda))
    answer(lda, answers[6:])
    answer(loaded, answers[6:])
    assert_equal(state(loaded), state(lda))


def test_rejected_box_lowers_its_label_there_and_no_other(lda):
    accepted, rejected = make_answers(4)[0], make_answers(4)[2]
    answer(lda, [accepted])
    rows = rejected["windows"].rows[0]
    before = rows @ lda.weight[0] + lda.bias[0]
    answer(lda, [{**rejected, "verdicts": torch.tensor([0])}])
    after = rows @ lda.weight[0] + lda.bias[0]
    assert after.mean() < before.mean()
    assert lda.bias[1] == NEVER


def test_edges_are_those_of_ridge_regression(lda):
    answers = make_answers(30)
    answer(lda, answers)
    rows = torch.cat([one["windows"].rows[0] for one in answers]).double()
    offsets = torch.cat([one["windows"].offsets[0] for one in answers]).double()
    columns = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
    expected = torch.linalg.solve(
        columns.T @ columns + 0.05 * torch.eye(WIDTH + 1), columns.T @ offsets
    )
    torch.testing.assert_close(lda.edges, expected.T.float(), rtol=1e-2, atol=1e-3)


def test_background_of_a_single_window_is_refused():
    with pytest.raises(ValueError, match="needs at least two windows, got 1"):
        WhitenedLDA(n_features=WIDTH, n_labels=1).learn_background([unit_rows(1)])
