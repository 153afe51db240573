"""The example configs: one for each component, complete enough for spaCy to fill in the rest."""

import shlex
from importlib.metadata import distribution
from pathlib import Path

import pytest
from spacy.cli._util import parse_config_overrides
from spacy.cli.init_config import fill_config
from spacy.util import load_config, load_model_from_config, registry, walk_dict

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.cfg"))


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_config_builds_its_pipeline_and_its_training(path):
    config = load_config(path)
    nlp = load_model_from_config(config, auto_fill=True)
    assert nlp.pipe_names == config["nlp"]["pipeline"]
    training = nlp.config.interpolate()["training"]
    registry.resolve({part: training[part] for part in ("optimizer", "batcher")})
    nlp.create_optimizer()  # which spaCy resolves on its own, for `nlp.resume_training()`


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_config_says_how_to_run_and_to_complete_it(path, tmp_path):
    text = path.read_text(encoding="utf-8")
    header = text.partition("\n\n")[0].replace("# ", "").replace("\\\n", "")
    commands = [shlex.split(line) for line in header.splitlines() if "python -m spacy" in line]
    place = f"configs/{path.name}"
    (train,) = [command[3:] for command in commands if command[3] == "train"]
    assert train[:4] == ["train", place, "--output", "training"]
    given = parse_config_overrides(train[4:])
    assert {*given} == {"paths.train", "paths.dev"}
    assert [command[3:] for command in commands if command[3] == "init"] == [
        ["init", "fill-config", place, "full.cfg"]
    ]
    fill_config(tmp_path / "full.cfg", path, silent=True)
    filled = load_config(tmp_path / "full.cfg", overrides=given, interpolate=True)
    for part in ("train", "dev"):
        settings = walk_dict(filled["corpora"][part])
        assert [value for place, value in settings if place[-1] == "path"] == [
            given[f"paths.{part}"]
        ]


def test_every_component_has_a_config():
    factories = {
        point.name.removeprefix("torch_")
        for point in distribution("spacy-torch").entry_points
        if point.group == "spacy_factories"
    }
    assert sorted(factories - {path.stem for path in CONFIGS}) == []
