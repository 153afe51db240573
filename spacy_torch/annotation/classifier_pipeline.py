"""A pipeline whose classifier is ready to learn its first answer."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import load_model_from_config
from thinc.api import Config, fix_random_seed

from spacy_torch.annotation.upstream import Upstream

EXCLUSIVE = ("torch_textcat", "textcat")
MULTILABEL = ("torch_textcat_multilabel", "textcat_multilabel")
OF_PICTURES = ("torch_image_classifier", "torch_image_classifier_multilabel")
ALL = EXCLUSIVE + MULTILABEL + OF_PICTURES


def build_pipeline(config: Mapping[str, Any], *, seed: int) -> Language:
    """A new pipeline, with weights that the seed decides; the config stays as it is."""
    fix_random_seed(seed)
    return load_model_from_config(Config(copy.deepcopy(dict(config))), auto_fill=True)


def find_classifier(
    nlp: Language, name: str | None = None, *, factories: Sequence[str] = ALL
) -> str:
    """The name of the first classifier of a pipeline, or the given one if it is one.

    Raises:
        ValueError: there is none of these factories.
    """
    found = [other for other in nlp.pipe_names if nlp.get_pipe_meta(other).factory in factories]
    if name is None and found:
        return found[0]
    if name in found:
        return str(name)
    wanted = "" if name is None else f" named {name!r}"
    raise ValueError(
        f"the pipeline has no classifier{wanted} of {list(factories)}, only {nlp.pipe_names}: "
        "add one to the config"
    )


def initialize_classifier(
    nlp: Language,
    name: str,
    *,
    labels: Sequence[str],
    docs: Sequence[Doc],
    pool: Sequence[Doc],
    trained: Collection[str] = (),
) -> None:
    """Initialize one component with labels that nobody has given to anything yet.

    The token encoders that it listens to are initialized with it.

    Args:
        docs: whatever is at hand, for the sizes of things; what labels they have is made up.
        pool: for a model that learns from documents without labels.
        trained: components that stay as they are, such as those from another pipeline.
    """
    labels = list(labels)
    n_examples = max(len(docs), len(labels)) if docs else 0
    examples = [
        make_example(docs[place % len(docs)], labels, [labels[place % len(labels)]])
        for place in range(n_examples)
    ]
    initialize_upstream(nlp, name, examples, trained=trained)
    component: Any = nlp.get_pipe(name)
    settings: dict[str, Any] = {"labels": labels}
    if "pool" in inspect.signature(component.initialize).parameters:
        settings["pool"] = pool
    component.initialize(lambda: examples, nlp=nlp, **settings)


def initialize_upstream(
    nlp: Language, name: str, examples: Sequence[Example], *, trained: Collection[str] = ()
) -> None:
    """Initialize the token encoders that a component listens to, but for trained ones."""
    for shared in Upstream(nlp, name).shared:
        if shared not in trained:
            encoder: Any = nlp.get_pipe(shared)
            encoder.initialize(lambda: examples, nlp=nlp)


def make_example(doc: Doc, labels: Sequence[str], true: Sequence[str]) -> Example:
    """A document of which is known which labels apply, and that no others do."""
    reference = doc.copy()
    reference.cats = {label: float(label in true) for label in labels}
    return Example(doc, reference)
