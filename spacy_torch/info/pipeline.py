"""What a pipeline is made of, component by component."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import spacy
from spacy.language import Language
from spacy.util import get_model_meta, get_package_path, is_package, load_config
from thinc.api import Model

from spacy_torch.info.loaded import LoadedModule, count_thinc, describe_modules
from spacy_torch.info.stored import StoredModel, read_stored

# Factories whose vectors others listen to.
_SHARING = ("tok2vec", "transformer", "curated_transformer")


@dataclass(frozen=True)
class ComponentInfo:
    """One component.

    Attributes:
        architecture: the model's, by its registered name; None for one without a model.
        encoder: what reads the tokens for it, by its registered name, where the model has such.
        shares: the component whose vectors it listens to; None if its encoder is its own.
        n_thinc: how many numbers Thinc's own layers learn.
        modules: its torch modules; empty where the pipeline was not loaded.
        stored: what is on disk; None where there is nothing.
    """

    name: str
    factory: str
    architecture: str | None
    encoder: str | None
    shares: str | None
    n_thinc: int
    modules: Sequence[LoadedModule]
    stored: StoredModel | None

    @property
    def has_torch(self) -> bool:
        """Whether it has torch modules, loaded or stored."""
        return bool(self.modules) or (self.stored is not None and bool(self.stored.weights))


@dataclass(frozen=True)
class PipelineInfo:
    """A whole pipeline.

    Attributes:
        path: where it was loaded from, if that is known.
        problem: why it could not be loaded; then only what is stored is known.
    """

    name: str
    path: str | None
    components: Sequence[ComponentInfo]
    problem: str | None = None

    @property
    def has_torch(self) -> bool:
        """Whether there are torch modules in it."""
        return any(component.has_torch for component in self.components)

    @property
    def damaged(self) -> list[str]:
        """Component, file and what is wrong with it, of everything that is damaged."""
        return [
            f"{component.name}/{weights.file}: {weights.problem}"
            for component in self.components
            if component.stored is not None
            for weights in component.stored.weights
            if weights.problem is not None
        ]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain tables and lists."""
        return {**asdict(self), "has_torch": self.has_torch, "damaged": self.damaged}


def inspect_pipeline(name: str | Path) -> PipelineInfo:
    """An installed pipeline or one in a folder: loaded, or where that fails as it is stored.

    Raises:
        OSError: there is no such pipeline.
    """
    folder = find_folder(name)
    try:
        nlp = spacy.load(name)
    except Exception as error:  # of any code that a pipeline may bring
        return describe_stored(folder, problem=f"{type(error).__name__}: {error}")
    return describe_loaded(nlp, folder)


def find_folder(name: str | Path) -> Path:
    """The folder that an installed pipeline has its data in, or the one named.

    Raises:
        OSError: there is none, or it is no pipeline.
    """
    folder = Path(name)
    if is_package(str(name)):
        folder = get_package_path(str(name))
        meta = get_model_meta(folder)
        folder = folder / f"{meta['lang']}_{meta['name']}-{meta['version']}"
    if not (folder / "config.cfg").is_file():
        raise OSError(
            f"{name} is neither an installed pipeline nor the folder of one, which has a file "
            "config.cfg: name the folder that nlp.to_disk or spacy train wrote"
        )
    return folder


def describe_loaded(nlp: Language, folder: Path | None = None) -> PipelineInfo:
    """A pipeline in memory; `folder` is where it is stored unchanged, if it is."""
    blocks = nlp.config["components"]
    components: list[ComponentInfo] = []
    for name, pipe in nlp.components:
        model = getattr(pipe, "model", None)
        is_model = isinstance(model, Model)
        components.append(
            _describe(
                name,
                blocks,
                n_thinc=count_thinc(model) if is_model else 0,
                modules=describe_modules(model) if is_model else [],
                stored=None if folder is None else read_stored(folder / name, check=False),
            )
        )
    path = None if folder is None else str(folder)
    return PipelineInfo(name=_full_name(nlp.meta), path=path, components=components)


def describe_stored(folder: Path, *, problem: str | None = None) -> PipelineInfo:
    """A pipeline as it lies in a folder, every byte of its weights held against their digests."""
    config = load_config(folder / "config.cfg", interpolate=False)
    components: list[ComponentInfo] = []
    for name in config["nlp"]["pipeline"]:
        stored = read_stored(folder / name, check=True)
        n_thinc = 0 if stored is None else stored.n_thinc
        components.append(
            _describe(name, config["components"], n_thinc=n_thinc, modules=[], stored=stored)
        )
    meta = get_model_meta(folder)
    return PipelineInfo(_full_name(meta), str(folder), components, problem=problem)


def _full_name(meta: Mapping[str, Any]) -> str:
    return f"{meta['lang']}_{meta['name']} {meta['version']}"


def _describe(
    name: str,
    blocks: Mapping[str, Any],
    *,
    n_thinc: int,
    modules: Sequence[LoadedModule],
    stored: StoredModel | None,
) -> ComponentInfo:
    block = blocks.get(name, {})
    model = block.get("model") or {}
    return ComponentInfo(
        name=name,
        factory=block.get("factory", ""),
        architecture=model.get("@architectures"),
        encoder=_find_encoder(model),
        shares=_find_shared(model, blocks),
        n_thinc=n_thinc,
        modules=modules,
        stored=stored,
    )


def _find_encoder(model: Mapping[str, Any]) -> str | None:
    blocks = [*_nested(model)]
    named = [block["@torch_encoders"] for block in blocks if "@torch_encoders" in block]
    inner = [block.get("@architectures") for key in ("tok2vec",) for block in _under(blocks, key)]
    return next(filter(None, [*named, *inner]), None)


def _find_shared(model: Mapping[str, Any], blocks: Mapping[str, Any]) -> str | None:
    for block in _nested(model):
        if "Listener" in str(block.get("@architectures", "")):
            upstream = block.get("upstream", "*")
            sharing = [name for name, each in blocks.items() if each.get("factory") in _SHARING]
            return next(iter(sharing), upstream) if upstream == "*" else upstream
    return None


def _nested(block: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield block
    for value in block.values():
        if isinstance(value, Mapping):
            yield from _nested(value)


def _under(blocks: Sequence[Mapping[str, Any]], key: str) -> Iterator[Mapping[str, Any]]:
    for block in blocks:
        if isinstance(block.get(key), Mapping):
            yield block[key]
