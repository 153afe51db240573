"""Fits and leave-one-out values against fits from the definition."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_torch.nn.fast import ridge as ridge_file
from spacy_torch.nn.fast.evidence import log_losses
from spacy_torch.nn.fast.ridge import (
    PENALTIES,
    SCALES,
    balance_rows,
    factorize,
    fit_ridge,
    leave_one_out,
)

NAN = math.nan


def make_rows(n_rows, width, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(n_rows, width, generator=generator, dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-9)


def make_targets(n_rows, n_labels, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(n_labels, (n_rows,), generator=generator)
    return torch.nn.functional.one_hot(labels, n_labels).double()


def solve(rows, truth, importance, penalty):
    """The minimum of the penalized squares, from the normal equations."""
    columns = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], dim=1)
    weighted = columns.T * importance
    gram = weighted @ columns + penalty * torch.eye(columns.shape[1], dtype=rows.dtype)
    return torch.linalg.solve(gram, weighted @ truth), columns


@pytest.mark.parametrize("n_rows", [1, 2, 5, 12, 40])  # fewer rows than columns, and more
@pytest.mark.parametrize("exclusive", [True, False])
def test_the_fit_is_that_of_the_normal_equations(n_rows, exclusive):
    rows, targets = make_rows(n_rows, 8), make_targets(n_rows, 3)
    ridge = fit_ridge(rows, targets, exclusive=exclusive)
    importance = balance_rows(targets) if exclusive else torch.ones(n_rows).double()
    middle = 1 / 3 if exclusive else 0.5
    expected, _ = solve(rows, targets - middle, importance, ridge.penalty)
    torch.testing.assert_close(ridge.weight, expected * ridge.scale)


def test_many_rows_are_fitted_like_few(monkeypatch):
    rows, targets = make_rows(60, 8), make_targets(60, 3)
    whole = fit_ridge(rows, targets, exclusive=True)
    monkeypatch.setattr(ridge_file, "ENOUGH_TO_CHOOSE", 50)
    by_part = fit_ridge(rows, targets, exclusive=True)
    expected, _ = solve(rows, targets - 1 / 3, balance_rows(targets), by_part.penalty)
    torch.testing.assert_close(by_part.weight, expected * by_part.scale)
    assert whole.weight.shape == by_part.weight.shape


def test_values_left_out_are_those_of_fits_without_the_row():
    rows, targets = make_rows(9, 4), make_targets(9, 2)
    importance = torch.linspace(0.5, 2, 9).double()
    weight, columns = solve(rows, targets, importance, 0.7)
    part = columns * importance.sqrt().unsqueeze(1)
    values = leave_one_out(
        columns, targets, importance, columns @ weight, factor=factorize(part, 0.7)
    )
    for row in range(9):
        others = torch.arange(9) != row
        without, _ = solve(rows[others], targets[others], importance[others], 0.7)
        torch.testing.assert_close(values[row], columns[row] @ without)


def test_penalty_and_scale_are_the_best_by_leaving_out_one_after_the_other():
    rows, targets = make_rows(14, 4, seed=3), make_targets(14, 3, seed=3)
    ridge = fit_ridge(rows, targets, exclusive=True)
    importance = balance_rows(targets)

    def leave_each_out(penalty):
        for row in range(14):
            others = torch.arange(14) != row
            weight, _ = solve(rows[others], targets[others] - 1 / 3, importance[others], penalty)
            yield torch.cat([rows[row], torch.ones(1).double()]) @ weight

    def doubt(penalty, scale):
        logs = (scale * values[penalty]).log_softmax(1)
        loss = -(logs * targets).sum(1) @ importance
        return float(loss) + math.log(penalty / 0.5) ** 2 + math.log(scale / 4) ** 2

    values = {penalty: torch.stack(list(leave_each_out(penalty))) for penalty in PENALTIES}
    pairs = [(penalty, scale) for penalty in PENALTIES for scale in SCALES]
    penalty, scale = min(pairs, key=lambda pair: doubt(*pair))
    closely = [scale * 2 ** (step / 12) for step in range(-12, 13)]
    best = min(closely, key=lambda one: doubt(penalty, one))
    assert (ridge.penalty, ridge.scale) == (penalty, pytest.approx(best))


@pytest.mark.parametrize("exclusive", [True, False])
def test_what_is_said_to_be_half_sure_is_true_half_of_the_time(exclusive):
    """Labels drawn with probabilities that are known: on unseen rows these are what is said."""
    generator = torch.Generator().manual_seed(0)
    rows = make_rows(2400, 6)
    truth = rows @ (8 * torch.randn(6, 2, generator=generator, dtype=torch.float64))
    chances = truth.softmax(1) if exclusive else truth.sigmoid()
    targets = (torch.rand(2400, 2, generator=generator) < chances).double()
    if exclusive:
        targets[:, 1] = 1 - targets[:, 0]
    ridge = fit_ridge(rows[:400], targets[:400], exclusive=exclusive)
    logits = torch.cat([rows, torch.ones(2400, 1).double()], dim=1)[400:] @ ridge.weight
    said = logits.softmax(1) if exclusive else logits.sigmoid()
    for low in (0.05, 0.25, 0.45, 0.65):
        some = (said >= low) & (said < low + 0.2)
        assert some.sum() > 100
        assert float((said - targets[400:])[some].mean()) == pytest.approx(0, abs=0.08)


def test_labels_are_fitted_on_the_rows_that_know_them():
    rows = make_rows(6, 3)
    targets = torch.tensor(
        [[1, NAN], [0, NAN], [1, 1], [NAN, 0], [NAN, NAN], [0, 0]], dtype=torch.float64
    )
    ridge = fit_ridge(rows, targets, exclusive=False)
    for label, known in enumerate([[0, 1, 2, 5], [2, 3, 5]]):
        expected, _ = solve(
            rows[known], targets[known][:, label] - 0.5, torch.ones(len(known)), ridge.penalty
        )
        torch.testing.assert_close(ridge.weight[:, label], expected * ridge.scale)


def test_nothing_known_is_no_opinion():
    ridge = fit_ridge(torch.zeros(0, 3), torch.zeros(0, 2), exclusive=True)
    assert not ridge.weight.any()
    ridge = fit_ridge(make_rows(2, 3), torch.full((2, 2), NAN), exclusive=False)
    assert not ridge.weight.any()


def test_one_answer_of_each_label_makes_the_nearer_one_win():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    ridge = fit_ridge(rows, torch.eye(2), exclusive=True)
    logits = torch.tensor([[0.9, 0.1, 1.0], [0.2, 0.8, 1.0]]).double() @ ridge.weight
    assert logits.argmax(1).tolist() == [0, 1]


def test_rare_labels_count_more_at_the_beginning():
    targets = torch.tensor([[1, 0], [1, 0], [1, 0], [0, 1], [NAN, 0]], dtype=torch.float64)
    importance = balance_rows(targets)
    # Four settled rows, two labels: (4 / (2 * 3)) and (4 / (2 * 1)), to the power of 10 / 14.
    assert importance.tolist() == pytest.approx([(2 / 3) ** (10 / 14)] * 3 + [2 ** (10 / 14)] + [1])


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_the_loss_of_exclusive_labels_is_that_of_what_is_still_possible(data):
    n_labels = data.draw(st.integers(2, 4))
    answers = data.draw(st.lists(st.sampled_from([NAN, 0.0]), min_size=n_labels, max_size=n_labels))
    true = data.draw(st.none() | st.integers(0, n_labels - 1))
    if true is not None:
        answers[true] = 1.0
    logits = torch.tensor(
        data.draw(st.lists(st.floats(-3, 3), min_size=n_labels, max_size=n_labels))
    )
    loss = log_losses(logits.view(1, 1, -1), torch.tensor([answers]), torch.ones(1), exclusive=True)
    probabilities = logits.softmax(0).tolist()
    if true is not None:
        expected = -math.log(probabilities[true])
    elif all(value == 0 for value in answers):
        expected = 0.0
    else:
        possible = [p for p, value in zip(probabilities, answers, strict=True) if value != 0]
        expected = -math.log(sum(possible))
    assert float(loss) == pytest.approx(expected, abs=1e-4)
