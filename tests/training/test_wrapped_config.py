"""Parts of a config go through functions of ours, and nobody sees it."""

import pytest
import spacy
from confection import ConfigValidationError
from spacy.language import DEFAULT_CONFIG
from spacy.util import load_model_from_config, registry
from thinc.api import Config

from spacy_torch.training.wrapped_config import SECTIONS, WrappedConfig


def make_config(**training):
    config = Config({"nlp": {"lang": "en", "pipeline": []}, "system": {"seed": 0}})
    config["training"] = {"seed": 0, **training}
    return config


def load(config):
    return load_model_from_config(config, auto_fill=True)


def resolve(nlp):
    return registry.resolve(nlp.config.interpolate()["training"])


def mark(found):
    """Each wrapper shows what it was given."""
    return ("wrapped", found)


def wrap(config, *sections):
    return WrappedConfig(config, {section: mark for section in sections or SECTIONS})


def test_all_parts_are_wrapped():
    wrapped = wrap(make_config())
    found = resolve(load(wrapped.config))
    assert all(found[section][0] == "wrapped" for section in SECTIONS)
    assert found["before_update"] == ("wrapped", None)
    assert DEFAULT_CONFIG["training"]["optimizer"]["L2"] == found["optimizer"][1].L2


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"batcher": {"@batchers": "spacy.batch_by_sequence.v1", "size": 3}},
        {"optimizer": {"@optimizers": "Adam.v1", "learn_rate": 0.5}},
        {
            "before_update": None,
            "max_steps": 3,
            "optimizer": {"@optimizers": "SGD.v1", "learn_rate": 1},
        },
        {"before_to_disk": "${training.before_update}", "before_update": None},
    ],
)
def test_what_is_saved_is_what_spacy_alone_would_save(training):
    config = make_config(**training)
    wrapped = wrap(config)
    nlp = load(wrapped.config)
    wrapped.put_back(nlp)
    assert nlp.config.to_str() == load(config).config.to_str()
    assert list(nlp.config["training"]) == list(load(config).config["training"])


def test_block_that_is_the_name_of_another_is_wrapped():
    config = make_config(batcher="${batchers.mine}")
    config["batchers"] = {"mine": {"@batchers": "spacy.batch_by_sequence.v1", "size": 3}}
    wrapped = wrap(config, "batcher")
    nlp = load(wrapped.config)
    assert resolve(nlp)["batcher"][0] == "wrapped"
    wrapped.put_back(nlp)
    assert nlp.config["training"]["batcher"] == "${batchers.mine}"


def test_setting_of_a_block_may_be_referred_to():
    batcher = {"@batchers": "spacy.batch_by_sequence.v1", "size": 3}
    config = make_config(batcher=batcher, max_steps="${training.batcher.size}")
    nlp = load(wrap(config).config)
    assert nlp.config.interpolate()["training"]["max_steps"] == 3


def test_wrong_setting_is_refused_as_ever():
    batcher = {"@batchers": "spacy.batch_by_sequence.v1", "sise": 3}
    with pytest.raises(ConfigValidationError, match="spacy.batch_by_sequence.v1 .*sise"):
        load(wrap(make_config(batcher=batcher)).config)


@pytest.mark.parametrize("lang", [None, "zz"])
def test_what_is_wrong_with_a_config_is_left_to_spacy(lang):
    config = make_config(batcher={"@batchers": "nothing"})
    config["nlp"]["lang"] = lang
    assert wrap(config).config["training"]["batcher"] == {"@batchers": "nothing"}


def test_given_config_is_not_changed():
    config = make_config()
    before = config.to_str()
    wrap(config)
    assert config.to_str() == before
    assert spacy.blank("en").config["training"]["before_update"] is None
