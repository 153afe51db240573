"""Who takes part in a simulation of a given config."""

import csv

import pytest
from PIL import Image
from spacy.util import registry
from tiny_gold import FAST, make_config, make_data
from tiny_pictures import LABELS, draw_stripes

from spacy_torch.annotation.active import Settings
from spacy_torch.annotation.contestants import list_contestants
from spacy_torch.annotation.gold import Gold, split_gold
from spacy_torch.annotation.oracle import Noise
from spacy_torch.annotation.report import make_report
from spacy_torch.annotation.simulation import Protocol, simulate
from spacy_torch.annotation.summary import compare_lessons, say, write_csv
from spacy_torch.annotation.tasks import set_hashes

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


def test_models_of_pictures_meet_no_models_of_texts():
    contestants = make_contestants(None, "torch_image_classifier")
    assert [one.name for one in contestants] == [
        "the model, Margin", "the model, random order", "its slow part alone, random order",
    ]  # fmt: skip
    assert [one.follower for one in contestants] == [None] * 3


def test_classes_of_pictures_are_simulated_too(tmp_path):
    golds = []
    for number in range(24):
        label = LABELS[number % 2]
        path = tmp_path / f"{number}.png"
        Image.fromarray(draw_stripes(label, seed=number)).save(path)
        golds.append(Gold(set_hashes({"image": str(path)}), frozenset([label])))
    fast = {"@architectures": "spacy-torch.FastImageClassifier.v1", "exclusive_classes": True}
    encoder = {"@torch_encoders": "spacy-torch.PatchDictionary.v1", "size": 16, "width": 16}
    model = {**fast, "encoder": encoder, "slow": None}
    contestants = make_contestants(model, "torch_image_classifier")
    found = simulate(split_gold(golds), contestants, Protocol(8, 1, settings=SETTINGS))
    assert found.names == ["the model, Margin", "the model, random order"]
    assert all(run.checkpoints[-1].score > 0.7 for run in found.runs)
    assert str(tmp_path) in make_report(found)


def test_other_models_are_taught_what_the_strategy_and_chance_asked(tmp_path):
    wanted = {"baselines": ["random"], "pupils": ["bow", "slow"]}
    contestants = make_contestants({**FAST, "slow": SLOW}, **wanted)
    data = make_data()
    protocol = Protocol(answers=32, seeds=2, settings=SETTINGS)
    found = simulate(data, contestants, protocol)
    taught = [(one.seed, one.taught_by, one.name) for one in found.transfers]
    assert taught == [
        (seed, teacher, pupil)
        for seed in range(2)
        for teacher in ("the model, Margin", "the model, random order")
        for pupil in ("its slow part alone", "spacy.TextCatBOW.v3")
    ]
    assert {one.n_answers for one in found.transfers} == {32}
    print(
        [(one.name, one.score) for one in found.transfers],
        [r.checkpoints[-1].score for r in found.runs],
    )
    assert all(one.score > 0.9 for one in found.transfers if one.name == "its slow part alone")
    assert all(0 < one.score <= 1 and one.seconds > 0 for one in found.transfers)
    slow, bow = compare_lessons(found)
    by_margin = [one.score for one in found.transfers if one.taught_by == "the model, Margin"]
    assert slow.scores["the model, Margin"][0] == pytest.approx(sum(by_margin[::2]) / 2)
    assert bow.scores["the model, Margin"][0] == pytest.approx(sum(by_margin[1::2]) / 2)
    (gain,) = bow.gain.values()
    assert gain.mean == pytest.approx(
        bow.scores["the model, Margin"][0] - bow.scores["the model, random order"][0]
    )
    page = make_report(found)
    assert "What the answers teach others" in page
    assert "taught by the model, random order" in page
    assert any("spacy.TextCatBOW.v3" in sentence for sentence in say(found))
    write_csv(found, tmp_path / "runs.csv")
    with (tmp_path / "runs.csv").open(encoding="utf8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 8 + 8
    assert rows[-1]["name"] == "spacy.TextCatBOW.v3, taught by the model, random order"
    assert float(rows[-1]["score"]) == pytest.approx(found.transfers[-1].score, abs=1e-5)


def test_a_pupil_begins_from_nothing_and_learns_only_what_was_answered():
    (contestant,) = make_contestants(baselines=[], pupils=["bow"])
    protocol = Protocol(answers=4, seeds=1, settings=SETTINGS, noise=Noise(ignored=1.0))
    found = simulate(make_data(), [contestant], protocol)
    (transfer,) = found.transfers
    # It says the same of all texts, whichever that is.
    always = (pytest.approx(found.chance), pytest.approx(1 - found.chance))
    assert transfer.score in always
    assert compare_lessons(found)[0].gain == {}


def test_an_unknown_pupil_is_refused():
    with pytest.raises(ValueError, match=r"unknown pupils \['svm'\]: choose of .*'bow'"):
        make_contestants(pupils=["svm"])


def test_an_unknown_baseline_is_refused():
    with pytest.raises(ValueError, match=r"unknown baselines \['svm'\]: choose of .*'tfidf'"):
        make_contestants(baselines=["svm", "bow"])
