"""What a training has made of a pipeline beside its weights: strings, settings, the last scores."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from spacy.language import Language
from thinc.api import Model

from spacy_torch.training.checkpoint import CheckpointError

# Of a component, but neither its weights nor what no update changes.
NOT_ITS_OWN = ("vocab", "model", "kb")


def trained_models(nlp: Language, *, frozen: Sequence[str]) -> dict[str, Model[Any, Any]]:
    """The models that spaCy's loop trains, by component."""
    components: list[tuple[str, Any]] = list(nlp.pipeline)
    return {
        name: component.model
        for name, component in components
        if name not in frozen
        and getattr(component, "is_trainable", False)
        and isinstance(getattr(component, "model", None), Model)
    }


def save_pipeline(nlp: Language, names: Sequence[str], *, n_strings: int) -> dict[str, Any]:
    """The state of components and vocabulary, as JSON.

    Args:
        names: the components that are trained.
        n_strings: how many strings the vocabulary had before the first step.
    """
    components: dict[str, Any] = {name: nlp.get_pipe(name) for name in names}
    return {
        "components": {name: _pack(component) for name, component in components.items()},
        "states": {
            name: getattr(component, "training_state", None)
            for name, component in components.items()
        },
        "strings": [*itertools.islice(nlp.vocab.strings, n_strings, None)],
        "performance": plain(nlp.meta.get("performance", {})),
    }


def load_pipeline(nlp: Language, names: Sequence[str], saved: Mapping[str, Any]) -> None:
    """Put what `save_pipeline` gave into a pipeline made from the same config.

    Raises:
        CheckpointError: other components are trained.
    """
    if saved["components"].keys() != {*names}:
        raise CheckpointError(
            f"the checkpoint is of the components {', '.join(saved['components'])}, those that are "
            f"trained now are {', '.join(names)}: use the config that the run was started with"
        )
    for string in saved["strings"]:
        nlp.vocab.strings.add(string)
    for name, packed in saved["components"].items():
        component: Any = nlp.get_pipe(name)
        if _pack(component) != packed:
            component.from_bytes(base64.b64decode(packed), exclude=NOT_ITS_OWN)
        if saved["states"][name] is not None:
            component.training_state = saved["states"][name]
    nlp.meta["performance"] = saved["performance"]


def plain(value: Any) -> Any:
    """Scores as JSON values; NumPy's numbers become Python's, what JSON has not a description."""
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, (numpy.generic, numpy.ndarray)):
        return value.tolist()
    return value if isinstance(value, (str, int, float, type(None))) else repr(value)


def _pack(component: Any) -> str:
    return base64.b64encode(component.to_bytes(exclude=NOT_ITS_OWN)).decode()
