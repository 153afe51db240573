"""Answers are a set: order, repetition and undoing leave no trace, to the bit."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spacy_torch.nn.fast import classifier as classifier_file
from spacy_torch.nn.fast import logistic as logistic_file
from spacy_torch.nn.fast import ridge as ridge_file
from spacy_torch.nn.fast.answers import Answers
from spacy_torch.nn.fast.classifier import FastBatch, FastClassifier
from spacy_torch.nn.fast.evidence import Fitted
from spacy_torch.nn.fast.logistic import LogisticRegression
from spacy_torch.nn.fast.pair import HELD_OUT, FastSlowClassifier, PairBatch
from spacy_torch.nn.fast.regression import RidgeRegression

NAN = math.nan
WIDTH = 4


def build(n_labels=3, *, exclusive=True, n_answers=0, regression=None):
    return FastClassifier(
        nn.Identity(),
        width=WIDTH,
        n_labels=n_labels,
        exclusive=exclusive,
        n_answers=n_answers,
        regression=regression,
    ).eval()


def make_batch(keys):
    rows = [torch.randn(WIDTH, generator=torch.Generator().manual_seed(key)) for key in keys]
    rows = torch.stack(rows) if rows else torch.zeros(0, WIDTH)
    return FastBatch(torch.tensor(keys, dtype=torch.int64), nn.functional.normalize(rows, dim=1))


def answer(module, answers):
    """Tell a module the labels of keys, one call for all."""
    keys = list(answers)
    targets = torch.full((len(keys), module.weight.shape[1]), NAN)
    for row, label in enumerate(answers.values()):
        targets[row, label] = 1.0
    module.answer(make_batch(keys), targets)


def state(module):
    return {name: tensor.tolist() for name, tensor in module.state_dict().items()}


answers = st.dictionaries(st.integers(1, 30), st.integers(0, 2), max_size=12)


regressions = st.sampled_from([RidgeRegression(exclusive=True), LogisticRegression()])


@given(answers, regressions, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=50)
def test_the_order_of_answers_leaves_no_trace(answers, regression, random):
    at_once, one_by_one = build(regression=regression), build(regression=regression)
    answer(at_once, answers)
    keys = list(answers)
    random.shuffle(keys)
    for key in keys:
        answer(one_by_one, {key: answers[key]})
        answer(one_by_one, {key: answers[key]})  # twice is once
    assert state(one_by_one) == state(at_once)


@given(answers, answers, regressions)
@settings(deadline=None, max_examples=50)
def test_what_was_taken_back_was_never_there(answers, others, regression):
    module, expected = build(regression=regression), build(regression=regression)
    others = {key + 100: label for key, label in others.items()}
    answer(expected, answers)
    answer(module, {**others, **answers})
    assert module.forget(torch.tensor(list(others), dtype=torch.int64)) is bool(others)
    assert state(module) == state(expected)


@pytest.mark.parametrize("regression", [RidgeRegression(exclusive=True), LogisticRegression()])
def test_more_answers_than_penalty_and_scale_are_chosen_from_leave_no_trace(
    regression, monkeypatch
):
    for file in (classifier_file, ridge_file, logistic_file):
        monkeypatch.setattr(file, "ENOUGH_TO_CHOOSE", 8)
    at_once, one_by_one = build(regression=regression), build(regression=regression)
    labels = {key: key * key % 3 for key in range(1, 25)}
    answer(at_once, labels)
    for key, label in labels.items():
        answer(one_by_one, {key: label})
    assert state(one_by_one) == state(at_once)


def test_items_left_out_are_scored_by_the_regression_at_hand():
    module = build(regression=LogisticRegression())
    labels = {key: key % 3 for key in range(1, 13)}
    answer(module, labels)
    batch = make_batch([*labels, 99])
    left_out = module.train()(batch)
    penalty, scale = module.fit.tolist()
    rows, targets = module.answers.read_rows(), module.answers.read_targets()
    fitted = Fitted(module.weight, penalty, scale)
    expected = LogisticRegression().leave_out(rows, targets, fitted)(torch.arange(12))
    torch.testing.assert_close(left_out[:12].double(), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(left_out[12:], module.eval()(make_batch([99])))
    truth = torch.arange(1, 13) % 3
    right = module(batch)[:12].gather(1, truth[:, None])
    assert (left_out[:12].gather(1, truth[:, None]) < right).all()


def at_least(n_right, *, n, chance):
    """How probable it is that so many of n are right by chance."""
    return sum(math.comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(n_right, n + 1))


@pytest.mark.parametrize("regression", [RidgeRegression(exclusive=True), LogisticRegression()])
def test_a_model_guesses_until_chance_would_not_do_as_well_on_answers_left_out(regression):
    # What can be seen is the label in one of three cases, and any in the others.
    generator = torch.Generator().manual_seed(0)
    labels, others = torch.randint(3, (2, 240), generator=generator)
    seen = torch.where(torch.arange(240) % 3 == 0, labels, others)
    rows = nn.functional.one_hot(seen, WIDTH).float()
    module, found = build(regression=regression), []
    for n in range(10, 241, 10):
        batch = FastBatch(torch.arange(n), rows[:n])
        module.eval().answer(batch, nn.functional.one_hot(labels[:n], 3).float())
        n_right = int((module.train()(batch).argmax(1) == labels[:n]).sum())
        by_chance = at_least(n_right, n=n, chance=int(labels[:n].bincount().max()) / n)
        if not 0.003 < by_chance < 0.03:  # the normal distribution is not the binomial one
            assert module.is_guessing() is (by_chance > 0.01)
            found.append(module.is_guessing())
    assert found[0] is True
    assert found[-1] is False


def test_a_model_told_labels_by_chance_guesses():
    module = build()
    assert not module.is_guessing()  # of nothing there is nothing to say
    labels = torch.randint(3, (200,), generator=torch.Generator().manual_seed(0)).tolist()
    answer(module, dict(enumerate(labels)))
    assert module.is_guessing()
    assert FastSlowClassifier(fast=module, slow=Slow(1.0)).is_guessing()


def test_one_label_alone_is_no_knowledge_and_refusals_are_no_answers():
    module = build()
    module.answer(make_batch([1]), torch.tensor([[0.0, NAN, NAN]]))
    assert not module.is_guessing()
    answer(module, {2: 1, 3: 1, 4: 1})
    assert module.is_guessing()


def test_labels_that_are_not_exclusive_are_not_guessed():
    module = build(exclusive=False)
    module.answer(make_batch([1, 2]), torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]))
    assert not module.is_guessing()


def test_a_corrected_answer_replaces_the_one_before():
    module, expected = build(), build()
    answer(module, {1: 0, 2: 1})
    answer(module, {1: 2})
    answer(expected, {1: 2, 2: 1})
    assert state(module) == state(expected)


def test_answers_about_several_labels_of_an_item_add_up():
    module, expected = build(exclusive=False), build(exclusive=False)
    module.answer(make_batch([5]), torch.tensor([[1.0, NAN, NAN]]))
    module.answer(make_batch([5]), torch.tensor([[NAN, 0.0, NAN]]))
    expected.answer(make_batch([5]), torch.tensor([[1.0, 0.0, NAN]]))
    assert state(module) == state(expected)
    module.answer(make_batch([5, 5]), torch.tensor([[NAN, NAN, 1.0], [NAN, 1.0, NAN]]))
    expected.answer(make_batch([5]), torch.tensor([[1.0, 1.0, 1.0]]))
    assert state(module) == state(expected)


def test_an_answer_that_says_nothing_is_none():
    module = build()
    assert not module.answer(make_batch([1]), torch.full((1, 3), NAN))
    assert len(module.answers) == 0
    assert not module.answer(make_batch([]), torch.zeros(0, 3))


def test_items_answered_are_scored_as_if_they_were_not_in_training():
    module = build()
    labels = {key: key % 3 for key in range(1, 13)}
    answer(module, labels)
    left_out = module.train()(make_batch([*labels, 99]))
    module.eval()
    penalty, scale = module.fit.tolist()
    # The fit of the others, with the penalty, the scale and the importance of the whole.
    rows, targets = module.answers.read_rows(), module.answers.read_targets()
    columns = torch.cat([rows, torch.ones(12, 1)], dim=1)
    counts = targets.sum(0)
    importance = (12 / (3 * (targets @ counts))) ** (1 / (1 + 12 / 15))
    for row in range(12):
        others = torch.arange(12) != row
        weighted = columns[others].T * importance[others]
        gram = weighted @ columns[others] + penalty * torch.eye(WIDTH + 1)
        weight = torch.linalg.solve(gram, weighted @ (targets[others] - 1 / 3))
        torch.testing.assert_close(
            left_out[row].double(), scale * columns[row] @ weight, atol=1e-4, rtol=1e-4
        )
    torch.testing.assert_close(left_out[12:], module(make_batch([99])))


def test_room_for_answers_comes_with_the_sizes():
    module = build()
    answer(module, {1: 0, 2: 1})
    assert module.grown_sizes() == {"n_answers": 2}
    loaded = build(**module.grown_sizes())
    loaded.load_state_dict(module.state_dict())
    answer(module, {3: 2})
    answer(loaded, {3: 2})
    assert state(loaded) == state(module)


def test_features_learn_before_the_first_answer_only():
    class Features(nn.Identity):
        def learn_pool(self, batches):
            self.seen = [batch.tolist() for batch in batches]

    module = FastClassifier(Features(), width=1, n_labels=2, exclusive=True).eval()
    batch = FastBatch(torch.tensor([1]), torch.tensor([[1.0]]))
    module.learn_pool([batch])
    assert module.features.seen == [[[1.0]]]
    module.answer(batch, torch.tensor([[1.0, 0.0]]))
    with pytest.raises(RuntimeError, match="1 answers were learned already: initialize"):
        module.learn_pool([batch])


def test_keys_are_found_among_others():
    answers = Answers(width=1, n_labels=1)
    answers.add(torch.tensor([5, -3, 9]), torch.zeros(3, 1), torch.ones(3, 1))
    place, found = answers.find(torch.tensor([9, 4, -3, 10, -9]))
    assert found.tolist() == [True, False, True, False, False]
    assert answers.keys[place[found]].tolist() == [9, -3]


class Slow(nn.Module):
    """A network that is right by heart, or wrong."""

    def __init__(self, sign):
        super().__init__()
        self.sign = nn.Parameter(torch.tensor(sign))

    def forward(self, labels):
        return 4 * self.sign * nn.functional.one_hot(labels, 3).float()


def make_pair(sign):
    return FastSlowClassifier(fast=build(), slow=Slow(sign)).eval()


def pair_batch(keys):
    return PairBatch(make_batch(keys), torch.tensor([key % 3 for key in keys]))


def test_a_slow_learner_that_is_right_takes_part_and_one_that_is_wrong_does_not():
    keys = list(range(1, 61))
    shares = {}
    for sign in (1.0, -1.0):
        pair = make_pair(sign)
        fast, slow = pair.shares.tolist()
        assert fast > 0.9
        assert 0 < slow < 0.3
        pair.answer(pair_batch(keys), torch.eye(3)[torch.tensor(keys) % 3])
        shares[sign] = pair.shares.tolist()
        logits = pair(pair_batch([3, 4]))
        fast, slow = pair.shares
        expected = fast * pair.fast(make_batch([3, 4])) + slow * pair.slow(torch.tensor([0, 1]))
        torch.testing.assert_close(logits, expected)
    assert shares[1.0][1] > 0.9
    assert shares[-1.0][0] > 0.99
    assert shares[-1.0][1] < 0.01


def test_a_slow_learner_that_knows_better_takes_over():
    pair = make_pair(1.0)
    keys = list(range(1, 121))
    truth = torch.tensor(keys) % 3
    # What the fast one learned about these features is wrong for the items to come.
    others = make_batch([key + 1000 for key in keys])
    pair.fast.answer(others, torch.eye(3)[(truth + 1) % 3])
    batch = PairBatch(others._replace(keys=torch.tensor(keys)), truth)
    assert (pair.fast(batch.fast).argmax(1) == truth).float().mean() < 0.3
    pair._weigh(batch, torch.eye(3)[truth], torch.ones(120, dtype=torch.bool))
    assert (pair(batch).argmax(1) == truth).all()


def test_the_slow_learner_learns_nothing_from_what_it_is_tested_on():
    pair = make_pair(1.0).train()
    pair(pair_batch([3 * HELD_OUT]))[0, 0].backward()
    assert pair.slow.sign.grad == 0
    pair(pair_batch([3 * HELD_OUT + 3]))[0, 0].backward()
    assert pair.slow.sign.grad == 4


def test_the_slow_learner_is_trained_alone_half_of_the_time():
    torch.manual_seed(0)
    pair = make_pair(1.0)
    keys = list(range(1, 401))
    pair.fast.answer(make_batch(keys), torch.eye(3)[torch.tensor(keys) % 3])
    alone = pair.slow(torch.tensor(keys) % 3)
    is_alone = (pair.train()(pair_batch(keys)) == alone).all(dim=1)
    assert 150 < int(is_alone.sum()) < 250
