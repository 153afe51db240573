"""Functions put around the parts of [training], in a config that is not resolved yet."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from spacy.language import DEFAULT_CONFIG, Language
from spacy.util import get_lang_class, registry
from thinc.api import Config

Wrap = Callable[[Any], Any]

# Section of [training] -> the key that names its function, and the registry.
SECTIONS = {
    "optimizer": ("@optimizers", "optimizers"),
    "batcher": ("@batchers", "batchers"),
    "logger": ("@loggers", "loggers"),
    "before_update": ("@callbacks", "callbacks"),
    "before_to_disk": ("@callbacks", "callbacks"),
}


class WrappedConfig:
    """A config whose parts of [training] go through functions of ours when they are made.

    The blocks keep their places and settings, which others may refer to and spaCy validates;
    only the names of their functions are changed.

    Args:
        config: as loaded, not interpolated.
        wraps: by section, what is called with the optimizer, the batcher, the logger or the
            callback (None where there is none), and gives what spaCy uses in its place.

    Attributes:
        config: the changed copy.
    """

    def __init__(self, config: Config, wraps: Mapping[str, Wrap]) -> None:
        self.config = config.copy()
        self._before: dict[str, Any] = {}
        self._readers: dict[tuple[str, str], str] = {}
        # As spaCy will: it merges by the names of functions, which differ once they are ours.
        self._filled = filled = _defaults(config).merge(config)
        given = filled["training"]
        plain = filled.interpolate()["training"]
        # That in which spaCy fills a config up.
        self._order = [*given]
        training = self.config.setdefault("training", {})
        for section, wrap in wraps.items():
            key, registered = SECTIONS[section]
            block = copy.deepcopy(given.get(section))
            self._before[section] = block
            if isinstance(block, str):  # the name of another block
                block = plain[section]
            if block is None:
                block = {key: _register(registered, section, None, wrap)}
            elif isinstance(block, dict) and registry.has(registered, str(block.get(key))):
                block = {**block, key: _register(registered, section, block[key], wrap)}
            # else spaCy has something to say about it, and does.
            training[section] = block

    def wrap_reader(self, dotted: str, wrap: Wrap) -> None:
        """Let the reader of a corpus, such as "corpora.train", go through a function too."""
        section, _, name = dotted.partition(".")
        block = self._filled.get(section, {}).get(name)
        if isinstance(block, dict) and registry.has("readers", str(block.get("@readers"))):
            function = self._readers[section, name] = block["@readers"]
            ours = _register("readers", name, function, wrap)
            self.config.setdefault(section, {})[name] = {**block, "@readers": ours}

    def put_back(self, nlp: Language) -> None:
        """Give a pipeline that was made from the changed config the user's own for saving."""
        training = nlp.config["training"]
        for (section, name), function in self._readers.items():
            nlp.config[section][name]["@readers"] = function
        for section, before in self._before.items():
            key = SECTIONS[section][0]
            if isinstance(before, dict) and isinstance(training.get(section), dict):
                training[section] = {**training[section], key: before[key]}
            else:
                training[section] = before
        for name in [*self._order, *training.keys() - {*self._order}]:
            if name in training:
                training[name] = training.pop(name)


def check_settings(config: Config) -> None:
    """Hold the settings of functions that may get wrapped against what these take.

    spaCy does so, too, but would name the wrapped ones.

    Args:
        config: as loaded, not interpolated.

    Raises:
        ConfigValidationError: a setting is missing, unknown or of another type.
    """
    filled = _defaults(config).merge(config).interpolate()
    for section in ("training", "corpora"):
        registry.fill(filled[section])


def _defaults(config: Config) -> Config:
    lang = config.get("nlp", {}).get("lang")
    try:
        return get_lang_class(lang).default_config
    except (ImportError, TypeError):  # about which spaCy has something to say
        return DEFAULT_CONFIG


def _register(registered: str, section: str, name: str | None, wrap: Wrap) -> str:
    """Register a function that makes what another one makes, wrapped; returns its name."""
    ours = f"{name or section} (resumable)"
    make = _wrapped(_make_nothing if name is None else registry.get(registered, name), wrap)
    getattr(registry, registered).register(ours, func=make)
    return ours


def _make_nothing() -> None:
    """The callback of a config that has none."""


def _wrapped(function: Callable[..., Any], wrap: Wrap) -> Callable[..., Any]:
    @wraps(function)  # its signature is what the settings are held against
    def make(*args: Any, **kwargs: Any) -> Any:
        return wrap(function(*args, **kwargs))

    return make
