"""Sessions with a simulated annotator are fair: same start, same mistakes, unseen test."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from spacy.util import registry
from tiny_gold import FAST, GOLD, make_config, make_data

from spacy_torch.annotation.active import Settings
from spacy_torch.annotation.class_subject import make_truth
from spacy_torch.annotation.gold import Gold, split_gold
from spacy_torch.annotation.oracle import Noise
from spacy_torch.annotation.simulation import Contestant, Protocol, simulate
from spacy_torch.annotation.tfidf import TfidfRegression

PROTOCOL = Protocol(answers=12, seeds=2, settings=Settings(batch=4, epochs=0))
MULTILABEL = {**FAST, "exclusive_classes": False}


def strategy(name):
    return registry.torch_query_strategies.get(f"spacy-torch.{name}.v1")()


def contestant(name, *, asks="Random", **kwargs):
    return Contestant(name, **{"config": make_config(), "strategy": strategy(asks), **kwargs})


def test_contestants_begin_with_the_same_inputs_and_meet_the_same_mistakes():
    protocol = replace(PROTOCOL, noise=Noise(0.3, 0.2))
    both = [contestant("margin", asks="Margin"), contestant("random")]
    found = simulate(make_data(), both, protocol)
    for seed in range(2):
        margin, random = (found.of(name)[seed].answered for name in ("margin", "random"))
        assert [task["_input_hash"] for task in margin[:4]] == [
            task["_input_hash"] for task in random[:4]
        ]
        given = {task["_task_hash"]: task.get("accept") for task in margin}
        again = {task["_task_hash"]: task.get("accept") for task in random}
        assert given.keys() & again.keys()
        assert all(given[key] == again[key] for key in given.keys() & again.keys())
    assert found.of("random")[0].answered[:4] != found.of("random")[1].answered[:4]


def test_a_run_has_a_checkpoint_for_each_batch_and_repeats():
    data = make_data()
    (run, _) = simulate(data, [contestant("a")], PROTOCOL).of("a")
    assert [point.n_answers for point in run.checkpoints] == [4, 8, 12]
    assert run.area == np.mean([point.score for point in run.checkpoints])
    asked = {task["_input_hash"] for task in run.answered}
    assert len(asked) == 12
    assert asked <= {gold.key for gold in data.pool}
    found = sum(gold.key in asked and data.rarest in gold.true for gold in data.pool)
    assert run.checkpoints[-1].n_found == found
    again = simulate(data, [contestant("a")], PROTOCOL).of("a")[0]
    assert [point.score for point in again.checkpoints] == [
        point.score for point in run.checkpoints
    ]


def test_the_test_is_never_learned_from():
    """Other texts, or other labels, in the test leave the session as it was."""
    data = make_data()
    turned = [
        Gold.of(f"{gold.task['text']} indeed", {"POS", "NEG"} - gold.true) for gold in data.test
    ]
    run = simulate(data, [contestant("a", asks="Margin")], PROTOCOL).of("a")[0]
    other = simulate(replace(data, test=turned), [contestant("a", asks="Margin")], PROTOCOL)
    assert other.of("a")[0].answered == run.answered


def test_a_pool_that_is_used_up_ends_the_session():
    data = split_gold(GOLD[:4] + GOLD[-4:], GOLD[10:20])
    (run,) = simulate(data, [contestant("a")], replace(PROTOCOL, seeds=1)).of("a")
    assert [point.n_answers for point in run.checkpoints] == [4, 8]


def test_stock_classifiers_take_part_in_yes_or_no_questions():
    model = None
    stock = contestant("stock", config=make_config("textcat", model))
    settings = Settings(batch=4, epochs=1)
    protocol = replace(PROTOCOL, kind="binary", seeds=1, settings=settings)
    (run,) = simulate(make_data(), [stock], protocol).of("stock")
    assert {task["answer"] for task in run.answered} == {"accept", "reject"}


def test_one_rare_label_is_scored_by_its_ranking():
    data = split_gold([Gold.of(one.task["text"], one.true - {"NEG"}) for one in GOLD], share=0.3)
    protocol = replace(PROTOCOL, kind="binary")
    config = make_config("torch_textcat_multilabel", MULTILABEL)
    high = contestant("high", config=config, asks="HighScore", follower="words")
    found = simulate(data, [high], protocol, ceiling=True)
    assert found.metric == "average precision"
    assert found.names == ["high", "words"]
    assert found.chance == pytest.approx(sum(bool(one.true) for one in data.test) / len(data.test))
    assert found.ceiling == 1.0
    assert all(0 <= point.score <= 1 for run in found.runs for point in run.checkpoints)


def test_a_follower_learns_what_the_session_was_told():
    data = make_data()
    told = []
    found = simulate(
        data,
        [contestant("a", follower="words")],
        replace(PROTOCOL, seeds=1, answers=34),
        on_run=told.append,
    )
    assert [run.name for run in told] == ["a", "words"]
    assert found.metric == "accuracy"
    assert found.chance == max(
        make_truth((gold.true for gold in data.test), data.labels).mean(axis=0)
    )
    assert found.of("words")[0].checkpoints[-1].score >= 0.9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Protocol(answers=5), "at least one batch of 10 answers and one seed, got 5"),
        (
            lambda: simulate(make_data(), [contestant("a"), contestant("a")], PROTOCOL),
            "need different names, got .'a', 'a'",
        ),
        (
            lambda: simulate(
                make_data(),
                [contestant("a", config=make_config("torch_textcat_multilabel", MULTILABEL))],
                PROTOCOL,
            ),
            "is for any number of labels, but the data has exactly one",
        ),
    ],
)
def test_an_unfair_match_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_without_scikit_learn_the_baseline_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'spacy-torch\[simulate\]'"):
        TfidfRegression(["A", "B"], exclusive=True)


def test_the_baseline_answers_before_it_knows_both_sides():
    texts = ["good film", "bad film"]
    assert TfidfRegression(["A", "B"], exclusive=True).fit_predict([], texts).tolist() == [
        [0.5, 0.5], [0.5, 0.5],
    ]  # fmt: skip
