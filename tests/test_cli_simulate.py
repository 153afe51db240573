import json

import pytest
import spacy
from spacy.cli import app
from spacy.util import registry
from tiny_gold import GOLD, make_config
from typer.testing import CliRunner


@pytest.fixture
def run():
    registry.cli.get("torch-simulate")  # as python -m spacy does

    def run(*arguments):
        result = CliRunner().invoke(app, ["torch-simulate", *map(str, arguments)])
        return result.exit_code, " ".join(result.output.split())

    return run


@pytest.fixture
def files(tmp_path):
    make_config().to_disk(tmp_path / "config.cfg")
    lines = [{"text": gold.task["text"], "label": next(iter(gold.true))} for gold in GOLD]
    (tmp_path / "gold.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path


QUICK = ("--answers", 8, "--batch", 4, "--seeds", 2, "--epochs", 1)


def test_the_report_and_the_table_are_written(run, files):
    code, output = run(
        files / "config.cfg", files / "gold.jsonl", *QUICK, "--baselines", "random,tfidf",
        "--pupils", "bow", "--html", files / "out" / "report.html",
        "--csv", files / "out" / "runs.csv",
    )  # fmt: skip
    assert code == 0, output
    assert "34 inputs to ask about, 14 to be tested on" in output
    assert "the model, Margin" in output
    assert "These are 2 seeds" in output
    assert "<svg" in (files / "out" / "report.html").read_text()
    rows = (files / "out" / "runs.csv").read_text().splitlines()
    # Checkpoints, contestants with what follows them, seeds; and what two of them teach.
    assert len(rows) == 1 + 2 * 4 * 2 + 2 * 2


def test_without_scikit_learn_the_others_take_part(run, files, monkeypatch):
    monkeypatch.setattr("spacy_torch.annotation.tfidf.has_scikit_learn", lambda: False)
    code, output = run(
        files / "config.cfg", files / "gold.jsonl", *QUICK, "--kind", "binary", "--pupils", "",
        "--baselines", "random,tfidf", "--html", files / "report.html",
    )  # fmt: skip
    assert code == 0, output
    assert "Without scikit-learn TF-IDF is left out" in output
    assert "logistic" not in (files / "report.html").read_text()


def test_entities_are_simulated_as_well(run, tmp_path):
    nlp = spacy.blank("en")
    encoder = {"@torch_encoders": "spacy-torch.HashEmbedCNN.v1", "width": 8, "depth": 1}
    model = {"@architectures": "spacy-torch.CRFTagger.v1", "encoder": encoder}
    nlp.add_pipe("torch_ner", config={"model": model})
    nlp.config.to_disk(tmp_path / "config.cfg")
    lines = [
        {
            "text": gold.task["text"],
            "spans": [{"start": 0, "end": gold.task["text"].index(" "), "label": label}],
        }
        for gold in GOLD
        for label in gold.true
    ]
    (tmp_path / "gold.jsonl").write_text("\n".join(map(json.dumps, lines)))
    code, output = run(
        tmp_path / "config.cfg", tmp_path / "gold.jsonl", *QUICK, "--html",
        tmp_path / "report.html",
    )  # fmt: skip
    assert code == 0, output
    assert "F of spans" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategy", "spacy-torch.Marge.v1"], "spacy-torch.Marge.v1"),
        (["--kind", "boxes"], "must be choice or binary, got 'boxes'"),
        (["--baselines", "svm"], "unknown baselines ['svm']"),
        (["--answers", "3"], "at least one batch of 10 answers"),
        (["--component", "ner"], "there is no component 'ner'"),
        (["--flipped", "2"], "together at most 1"),
        (["--test-share", "0"], "must be between 0 and 1"),
    ],
)
def test_what_cannot_be_simulated_is_told_and_nothing_written(run, files, arguments, message):
    code, output = run(
        files / "config.cfg", files / "gold.jsonl", "--html", files / "report.html", *arguments
    )
    assert code == 1
    assert message in output
    assert not (files / "report.html").exists()
