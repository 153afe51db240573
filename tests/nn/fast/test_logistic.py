"""The fit is the minimum of the penalized log-loss, and what is left out is what refits say."""

import math

import pytest
import torch

from spacy_torch.nn.fast import logistic as logistic_file
from spacy_torch.nn.fast.evidence import Choice, log_losses
from spacy_torch.nn.fast.logistic import USUAL, LogisticRegression
from spacy_torch.nn.fast.ridge import balance_rows, fit_ridge

NAN = math.nan


def make_rows(n_rows, width, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n_rows, width, generator=generator, dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def make_targets(rows, n_labels, *, seed=0):
    """Labels that the rows say something of."""
    generator = torch.Generator().manual_seed(seed)
    weight = 6 * torch.randn(rows.shape[1], n_labels, generator=generator, dtype=torch.float64)
    labels = torch.multinomial((rows @ weight).softmax(1), 1, generator=generator)[:, 0]
    return torch.nn.functional.one_hot(labels, n_labels).double()


def score(rows, fitted):
    return rows @ fitted.weight[:-1] + fitted.weight[-1]


@pytest.fixture
def many_steps(monkeypatch):
    monkeypatch.setattr(logistic_file, "STEPS", 2000)


@pytest.mark.parametrize("n_rows", [1, 6, 40])  # fewer rows than columns, and more
@pytest.mark.parametrize("n_refused", [0, 1, 2])
@pytest.mark.usefixtures("many_steps")
def test_the_fit_is_where_the_penalized_log_loss_is_flat(n_rows, n_refused):
    rows = make_rows(n_rows, 8)
    targets = make_targets(rows, 4)
    # Of every third row it is only known which labels it has not.
    targets[::3] = NAN
    targets[::3, :n_refused] = 0.0
    weight = LogisticRegression().fit(rows, targets, chosen=Choice(0.3, 1.0)).weight
    weight.requires_grad_()
    logits = torch.cat([rows, torch.ones(n_rows, 1)], dim=1) @ weight
    loss = log_losses(logits[None], targets, balance_rows(targets), exclusive=True)[0]
    (loss + 0.3 * (weight**2).sum() / 2).backward()
    assert weight.grad.abs().max() < 1e-4


def test_the_steps_are_enough(monkeypatch):
    rows = make_rows(200, 16)
    targets = make_targets(rows, 5)
    some = LogisticRegression().fit(rows, targets, chosen=Choice(0.1, 1.0))
    monkeypatch.setattr(logistic_file, "STEPS", 2000)
    many = LogisticRegression().fit(rows, targets, chosen=Choice(0.1, 1.0))
    others = make_rows(500, 16, seed=1)
    difference = score(others, some).softmax(1) - score(others, many).softmax(1)
    assert difference.abs().max() < 0.02


@pytest.mark.parametrize(
    ("n_labels", "n_rows", "penalty"), [(2, 16, 0.1), (2, 60, 1.0), (6, 60, 0.3)]
)
@pytest.mark.usefixtures("many_steps")
def test_rows_left_out_get_about_what_a_fit_without_them_says(n_labels, n_rows, penalty):
    rows = make_rows(n_rows, 5)
    targets = make_targets(rows, n_labels)
    regression = LogisticRegression()
    chosen = Choice(penalty, 2.0)
    fitted = regression.fit(rows, targets, chosen=chosen)
    places = torch.arange(0, n_rows, 3)
    found = regression.leave_out(rows, targets, fitted)(places)
    expected = torch.zeros_like(found)
    for place, values in zip(places, expected, strict=True):
        others = targets.clone()
        others[place] = 0.0  # every label refused: says nothing
        values.copy_(score(rows[place], regression.fit(rows, others, chosen=chosen)))
    moved = (score(rows[places], fitted) - expected).pow(2).mean().sqrt()
    assert (found - expected).pow(2).mean().sqrt() < 0.25 * moved


@pytest.mark.usefixtures("many_steps")
def test_a_row_of_which_every_label_is_refused_says_nothing():
    rows = make_rows(12, 4)
    targets = make_targets(rows, 3)
    targets[-1] = 0.0
    with_it = LogisticRegression().fit(rows, targets)
    without = LogisticRegression().fit(rows[:-1], targets[:-1])
    torch.testing.assert_close(with_it.weight, without.weight, atol=1e-4, rtol=1e-4)


def test_a_label_between_two_others_is_not_masked_by_them():
    """The example of Hastie, Tibshirani and Friedman: three groups on a line."""
    along = torch.tensor([-0.9, 0.0, 0.9]).repeat_interleave(20) + torch.linspace(
        -0.1, 0.1, 20
    ).repeat(3)
    rows = along.double().unsqueeze(1)
    labels = torch.arange(3).repeat_interleave(20)
    targets = torch.nn.functional.one_hot(labels, 3).double()
    middle = slice(20, 40)
    assert (score(rows, fit_ridge(rows, targets, exclusive=True))[middle].argmax(1) != 1).any()
    assert (score(rows, LogisticRegression().fit(rows, targets)).argmax(1) == labels).all()


def test_what_is_said_to_be_half_sure_is_true_half_of_the_time():
    rows = make_rows(3000, 6)
    targets = make_targets(rows, 3)
    fitted = LogisticRegression().fit(rows[:400], targets[:400])
    said = score(rows[400:], fitted).softmax(1)
    for low in (0.05, 0.25, 0.45, 0.65):
        some = (said >= low) & (said < low + 0.2)
        assert some.sum() > 100
        assert float((said - targets[400:])[some].mean()) == pytest.approx(0, abs=0.08)


def test_labels_that_rows_say_nothing_of_are_held_back():
    """Where chance gave the labels, little is said of other rows."""
    rows = make_rows(120, 40)
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(2, (120,), generator=generator)
    fitted = LogisticRegression().fit(rows, torch.nn.functional.one_hot(labels, 2).double())
    said = score(make_rows(500, 40, seed=2), fitted).softmax(1)
    assert said.max(1).values.mean() < 0.65


def test_penalty_and_scale_of_many_rows_are_those_of_the_first(monkeypatch):
    rows = make_rows(60, 8)
    targets = make_targets(rows, 3)
    monkeypatch.setattr(logistic_file, "ENOUGH_TO_CHOOSE", 50)
    found = LogisticRegression().fit(rows, targets)
    first = LogisticRegression().fit(rows[:50], targets[:50])
    assert found[1:] == first[1:]
    again = LogisticRegression().fit(rows, targets, chosen=Choice(first.penalty, first.scale))
    assert torch.equal(found.weight, again.weight)


def test_no_rows_are_no_opinion():
    fitted = LogisticRegression().fit(torch.zeros(0, 3), torch.zeros(0, 2))
    assert fitted.weight.shape == (4, 2)
    assert not fitted.weight.any()
    assert fitted[1:] == USUAL
    unknown = torch.full((2, 2), NAN)
    assert not LogisticRegression().fit(make_rows(2, 3), unknown).weight.any()
