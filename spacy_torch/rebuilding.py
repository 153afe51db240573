"""A pipeline made anew from a changed config, with the contents of the one it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spacy.language import Language
from thinc.api import Config

Path = tuple[str, ...]


def rebuild(nlp: Language, config: Config) -> Language:
    """A pipeline made from a config, with the contents of another one and its vocabulary."""
    made = type(nlp).from_config(config, vocab=nlp.vocab, meta=nlp.meta)
    return made.from_bytes(nlp.to_bytes(exclude=["vocab"]), exclude=["vocab"])


def with_blocks(config: Config, blocks: Mapping[Path, dict[str, Any]]) -> Config:
    """The config with new blocks, and with values in place of variables that read the old."""
    interpolated = config.interpolate()
    variables = [f"${{{'.'.join(path)}" for path in blocks]

    def renew(value: Any, known: Any, path: Path) -> Any:
        if path in blocks:
            return blocks[path]
        if isinstance(value, Mapping):
            return {key: renew(value[key], known[key], (*path, key)) for key in value}
        if isinstance(value, str) and any(
            variable in value.replace(":", ".") for variable in variables
        ):
            return known
        return value

    return Config(renew(config, interpolated, ()))
