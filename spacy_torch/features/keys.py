"""What a document is known by: the same for the same text, on any machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from spacy.strings import hash_string  # pyright: ignore[reportAttributeAccessIssue]
from spacy.tokens import Doc


def text_keys(docs: Sequence[Doc]) -> torch.Tensor:
    """The hash of each text, as spaCy hashes strings; shape (batch,), int64."""
    hashes = np.array([hash_string(doc.text) for doc in docs], dtype=np.uint64)
    return torch.from_numpy(hashes.view(np.int64))
