import inspect
from importlib.metadata import distribution

import pytest
from spacy.util import registry
from thinc.api import Config

# Entry-point groups by the key that a config uses: [optimizer] @optimizers = "..."
KEYS = {
    "spacy_architectures": "architectures",
    "spacy_callbacks": "callbacks",
    "spacy_loggers": "loggers",
    "spacy_misc": "misc",
    "spacy_readers": "readers",
    "spacy_scorers": "scorers",
    "thinc_optimizers": "optimizers",
    "torch_encoders": "torch_encoders",
    "torch_losses": "torch_losses",
}
BUILDERS = [
    pytest.param(KEYS[point.group], point.name, id=point.name)
    for point in distribution("spacy-torch").entry_points
    if point.group in KEYS
]


@pytest.mark.parametrize(("key", "name"), BUILDERS)
def test_builder_accepts_its_own_defaults_from_a_config_file(key, name):
    # spacy init fill-config writes the defaults into the file, where a tuple becomes a list.
    block = {f"@{key}": name}
    filled = registry.fill({"block": block}, validate=False)
    read = Config().from_str(Config(filled).to_str())
    assert set(read["block"]) == {f"@{key}", *defaults(registry.get(key, name))}
    if not required(registry.get(key, name)):
        registry.resolve(read)


@pytest.mark.parametrize(("key", "name"), BUILDERS)
def test_builder_checks_the_types_of_what_a_config_gives(key, name):
    for parameter in inspect.signature(registry.get(key, name)).parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter
        assert parameter.kind is not inspect.Parameter.VAR_KEYWORD, parameter


def defaults(function):
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is not inspect.Parameter.empty]


def required(function):
    return set(inspect.signature(function).parameters) - set(defaults(function))
