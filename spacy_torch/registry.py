"""The registries that this package adds to spaCy's, filled by entry points and decorators."""

from __future__ import annotations

from typing import Any, cast

import catalogue
from spacy.util import registry

# A config finds them as @torch_encoders and @torch_losses, another package adds to them
# by an entry-point group of the same name.
encoders = catalogue.create("torch_encoders", entry_points=True)
losses = catalogue.create("torch_losses", entry_points=True)

# spaCy's registry finds another one as its attribute, under a name that its type lacks.
_attributes = cast("Any", registry)
_attributes.torch_encoders = encoders
_attributes.torch_losses = losses
