"""The registries that this package adds to spaCy's, filled by entry points and decorators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import catalogue
from spacy.util import registry

Function = TypeVar("Function", bound=Callable[..., Any])

# A config finds them as @torch_encoders and so on, another package adds to them
# by an entry-point group of the same name.
encoders = catalogue.create("torch_encoders", entry_points=True)
losses = catalogue.create("torch_losses", entry_points=True)
query_strategies = catalogue.create("torch_query_strategies", entry_points=True)

# spaCy's registry finds another one as its attribute, under a name that its type lacks.
_attributes = cast("Any", registry)
_attributes.torch_encoders = encoders
_attributes.torch_losses = losses
_attributes.torch_query_strategies = query_strategies


def needs_extra(extra: str) -> Callable[[Function], Function]:
    """A decorator for a registered function whose result works only with an extra installed."""

    def mark(function: Function) -> Function:
        cast("Any", function).extra = extra
        return function

    return mark


def find_extra(kind: str, name: str) -> str | None:
    """The extra that a registered function needs, if any.

    Args:
        kind: the registry, such as "torch_encoders".
        name: of the function in it.
    """
    return getattr(registry.get(kind, name), "extra", None)
