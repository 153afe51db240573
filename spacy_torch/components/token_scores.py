"""From the logits of a batch's tokens to losses, labels and probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy
import torch
from numpy.typing import NDArray
from spacy.tokens import Doc
from thinc.api import Config, Model
from torch import Tensor

from spacy_torch.bridge.model import run_tensors
from spacy_torch.components.gold_tokens import Columns
from spacy_torch.components.losses import Loss
from spacy_torch.components.parts import check_any_label, check_loss, check_model, check_serves
from spacy_torch.components.probabilities import Probabilities, list_docs
from spacy_torch.components.torch_pipe import TorchPipe

DEFAULT_TOKEN_MODEL = Config().from_str("""
[model]
@architectures = "spacy-torch.TokenClassifier.v1"

[model.encoder]
@torch_encoders = "spacy-torch.HashEmbedCNN.v1"
""")["model"]


def check_token_parts(name: str, *, model: Model[Any, Any], loss: Loss) -> None:
    """Hold a token classifier's model and loss against what it needs; see `parts`."""
    check_model(name, model, logits_of="token", architecture="spacy-torch.TokenClassifier.v1")
    check_loss(name, loss)
    check_serves(name, loss, exclusive=True)


def initialize_token_model(pipe: TorchPipe, sample: Sequence[Doc], *, step: str) -> None:
    """Build the module of a token classifier whose labels are known.

    Args:
        sample: a few documents.
        step: what to do if there are no labels, for the error.

    Raises:
        ValueError: there is no label.
    """
    check_any_label(pipe.name, pipe.labels, step=step)
    truth = [numpy.zeros((len(doc), len(pipe.labels)), dtype="float32") for doc in sample]
    pipe.model.initialize(X=list(sample), Y=truth)
    pipe.note_labels()


def token_loss(loss: Loss, logits: Any, columns: Columns) -> Tensor:
    """The loss summed over the tokens whose label is known.

    Args:
        logits: `Ragged`, values of shape (token, label).
        columns: the label of each token, below 0 where it is not known.
    """
    known = numpy.flatnonzero(columns >= 0)
    values: Tensor = logits.values
    device = values.device
    if len(known) < len(columns):
        values = values.index_select(0, torch.from_numpy(known).to(device))
    truth = torch.from_numpy(columns[known]).to(device).unsqueeze(1)  # token, 1
    targets = torch.zeros_like(values).scatter_(1, truth, 1.0)
    return loss(values, targets, None, exclusive=True)


def best_columns(pipe: TorchPipe, docs: Iterable[Doc]) -> list[NDArray[numpy.int64]]:
    """The column of the best label of each token, one array per document."""
    docs = list(docs)
    logits, _ = run_tensors(pipe.logits_model, docs, is_train=False)
    best = logits.values.argmax(1) if len(logits.values) else logits.lengths.new_zeros(0)
    return _split(best.cpu().numpy(), docs)


def token_probabilities(pipe: TorchPipe, docs: Iterable[Doc]) -> list[Probabilities]:
    """The probability of each label for each token of each document."""
    docs = list_docs(docs, name=pipe.name)
    logits, _ = run_tensors(pipe.logits_model, docs, is_train=False)
    values = logits.values.float().softmax(1).cpu().numpy().reshape(-1, len(pipe.labels))
    return [
        Probabilities(list(doc), pipe.labels, rows)
        for doc, rows in zip(docs, _split(values, docs), strict=True)
    ]


def write_attr(doc: Doc, attr: int, values: NDArray[numpy.uint64], *, overwrite: bool) -> None:
    """Set an attribute of all tokens, or of those that have none yet."""
    if not overwrite:
        values = keep_known(doc.to_array([attr]), values)
    doc.from_array([attr], cast("Any", values))


def keep_known(before: NDArray[Any], values: NDArray[numpy.uint64]) -> NDArray[numpy.uint64]:
    """New values of an attribute only for the tokens that have none yet."""
    return numpy.where(before != 0, before, values)


def _split(rows: NDArray[Any], docs: Sequence[Doc]) -> list[Any]:
    ends = numpy.cumsum([len(doc) for doc in docs])
    return cast("list[Any]", numpy.split(rows, ends[:-1])) if len(docs) else []
