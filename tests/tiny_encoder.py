"""The config of an encoder small enough to train in a test."""

from typing import Any

ENCODER: dict[str, Any] = {
    "@torch_encoders": "spacy-torch.HashEmbedCNN.v1",
    "width": 16,
    "depth": 1,
    "attrs": ["NORM", "SUFFIX"],
    "rows": [200, 100],
}
