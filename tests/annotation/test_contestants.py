"""Who takes part in a simulation of a given config."""

import pytest
from spacy.util import registry
from tiny_gold import FAST, make_config, make_data

from spacy_torch.annotation.active import Settings
from spacy_torch.annotation.contestants import list_contestants
from spacy_torch.annotation.simulation import Protocol, simulate

SLOW = {
    "@architectures": "spacy-torch.TextCat.v1",
    "exclusive_classes": True,
    "encoder": {"@torch_encoders": "spacy-torch.HashEmbedCNN.v1", "width": 16, "depth": 1},
}
SETTINGS = Settings(batch=4, epochs=1)


def make_contestants(model=FAST, factory="torch_textcat", **kwargs):
    margin = registry.torch_query_strategies.get("spacy-torch.Margin.v1")()
    config = make_config(factory, model)
    return list_contestants(
        config, strategy=margin, strategy_name="Margin", settings=SETTINGS, **kwargs
    )


def test_all_take_part_in_a_simulation():
    contestants = make_contestants({**FAST, "slow": SLOW})
    data = make_data()
    found = simulate(data, contestants, Protocol(answers=4, seeds=1, settings=SETTINGS))
    assert found.names == [
        "the model, Margin",
        "TF-IDF + logistic regression, Margin",
        "the model, random order",
        "TF-IDF + logistic regression, random order",
        "its slow part alone, random order",
        "spacy.TextCatBOW.v3, random order",
        "spacy.TextCatEnsemble.v2, random order",
    ]
    first = {tuple(task["text"] for task in run.answered) for run in found.runs if run.answered}
    assert len(first) == 1


def test_what_a_config_has_no_part_for_or_nobody_wants_is_left_out():
    assert [one.name for one in make_contestants(baselines=["random", "slow"])] == [
        "the model, Margin", "the model, random order",
    ]  # fmt: skip
    multilabel = make_contestants(
        {**FAST, "exclusive_classes": False}, "torch_textcat_multilabel", baselines=["bow"]
    )
    assert multilabel[1].config["components"]["textcat_multilabel"]["model"][
        "exclusive_classes"
    ] is False  # fmt: skip


def test_an_unknown_baseline_is_refused():
    with pytest.raises(ValueError, match=r"unknown baselines \['svm'\]: choose of .*'tfidf'"):
        make_contestants(baselines=["svm", "bow"])
