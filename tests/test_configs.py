"""The example configs: one for each component, complete enough for spaCy to fill in the rest."""

from importlib.metadata import distribution
from pathlib import Path

import pytest
from spacy.util import load_config, load_model_from_config, registry

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.cfg"))


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_config_builds_its_pipeline_and_its_training(path):
    config = load_config(path)
    nlp = load_model_from_config(config, auto_fill=True)
    assert nlp.pipe_names == config["nlp"]["pipeline"]
    training = nlp.config.interpolate()["training"]
    registry.resolve({part: training[part] for part in ("optimizer", "batcher")})
    nlp.create_optimizer()  # which spaCy resolves on its own, for `nlp.resume_training()`


def test_every_component_has_a_config():
    factories = {
        point.name.removeprefix("torch_")
        for point in distribution("spacy-torch").entry_points
        if point.group == "spacy_factories"
    }
    assert sorted(factories - {path.stem for path in CONFIGS}) == []
