"""The registries that this package adds to spaCy's, filled by entry points and decorators."""

from __future__ import annotations

import catalogue
from spacy import registry

# A config finds them as @torch_encoders and @torch_losses, another package adds to them
# by an entry-point group of the same name.
encoders = catalogue.create("torch_encoders", entry_points=True)
losses = catalogue.create("torch_losses", entry_points=True)

registry.torch_encoders = encoders
registry.torch_losses = losses
