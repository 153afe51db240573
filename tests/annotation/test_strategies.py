"""What each strategy asks first, where that can be seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.util import registry

from spacy_torch.annotation.strategies import Candidates

NAMES = sorted(name for name in registry.torch_query_strategies.get_all() if "spacy-torch" in name)
PROBABILITIES = np.array(
    [[0.98, 0.01, 0.01], [0.5, 0.49, 0.01], [0.4, 0.3, 0.3], [0.05, 0.05, 0.9]]
)


def choose(name, candidates, number, **kwargs):
    strategy = registry.torch_query_strategies.get(f"spacy-torch.{name}.v1")(**kwargs)
    return strategy.choose(candidates, number, np.random.default_rng(0)).tolist()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("LeastConfidence", [2, 1, 3, 0]),
        ("Margin", [1, 2, 3, 0]),  # differences 0.01, 0.1, 0.85, 0.97
        ("Entropy", [2, 1, 3, 0]),
        ("HighScore", [3, 2]),
    ],
)
def test_questions_come_in_the_order_of_the_score(name, expected):
    assert choose(name, Candidates(PROBABILITIES), len(expected)) == expected


def test_chance_chooses_all_alike():
    strategy = registry.torch_query_strategies.get("spacy-torch.Random.v1")()
    random = np.random.default_rng(0)
    first = [strategy.choose(Candidates(PROBABILITIES), 1, random)[0] for _ in range(2000)]
    assert np.bincount(first, minlength=4).min() > 400


def clusters():
    random = np.random.default_rng(1)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    return np.concatenate([centre + random.normal(size=(20, 2)) for centre in centres])


@pytest.mark.parametrize("name", ["Typical", "DiverseMargin", "BADGE"])
def test_varied_questions_come_from_all_clusters(name):
    candidates = Candidates(np.full((60, 2), 0.5), vectors=clusters())
    places = choose(name, candidates, 3, **({"pool": 20} if name == "DiverseMargin" else {}))
    assert sorted(place // 20 for place in places) == [0, 1, 2]


def test_the_typical_one_is_in_the_middle_of_its_cluster():
    vectors = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [9.0]])
    candidates = Candidates(np.full((6, 2), 0.5), vectors=vectors)
    assert choose("Typical", candidates, 1) == [2]


def test_labels_are_asked_about_in_turn_the_surest_and_the_least_sure():
    yes = np.array([0.9, 0.8, 0.5, 0.45, 0.3, 0.05])
    candidates = Candidates(np.stack([1 - yes, yes], axis=1), labels=["A"] * 4 + ["B"] * 2)
    asked = choose("LabelsInTurn", candidates, 6)
    assert {asked[0], asked[1]} == {0, 4}  # the surest of each label
    assert {asked[2], asked[3]} == {2, 5}  # of A the least sure; of B that is 0.3, asked already
    assert asked[4:] == [1, 3]
    assert choose("LabelsInTurn", Candidates(PROBABILITIES), 2)[0] == 3  # without labels


def test_disagreement_counts_and_not_doubt():
    doubtful = [[0.5, 0.5], [0.5, 0.5]]
    divided = [[0.99, 0.01], [0.01, 0.99]]
    sure = [[0.9, 0.1], [0.9, 0.1]]
    draws = np.array([doubtful, divided, sure]).transpose(1, 0, 2)
    candidates = Candidates(draws.mean(axis=0), draws=draws)
    assert choose("BALD", candidates, 1) == [1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Typical", "needs vectors of the questions"),
        ("DiverseMargin", "needs vectors of the questions"),
        ("BADGE", "needs vectors of the questions"),
        ("BALD", "compares several draws of the model, got none"),
    ],
)
def test_a_strategy_says_what_it_lacks(name, message):
    with pytest.raises(ValueError, match=message):
        choose(name, Candidates(PROBABILITIES), 1)


@pytest.mark.parametrize("name", NAMES)
@given(st.data())
@settings(deadline=None, max_examples=20)
def test_every_strategy_chooses_different_places_as_many_as_asked_for(name, data):
    n_questions = data.draw(st.integers(1, 12))
    number = data.draw(st.integers(1, 15))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    draws = random.dirichlet([1, 1, 1], size=(2, n_questions))
    vectors = random.normal(size=(n_questions, 2)) * data.draw(st.sampled_from([0.0, 1.0]))
    candidates = Candidates(draws.mean(axis=0), vectors=vectors, draws=draws)
    places = registry.torch_query_strategies.get(name)().choose(candidates, number, random)
    assert len(places) == len(set(places.tolist())) == min(number, n_questions)
    assert set(places.tolist()) <= set(range(n_questions))
