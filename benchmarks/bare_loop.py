"""What spaCy's `update` costs on top of the bare torch loop that it stands for."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from spacy.language import Language
from spacy.training import Example
from torch import Tensor, nn

from benchmarks.corpus import batched, make_examples, read_banking77
from benchmarks.encoders import WIDTH
from benchmarks.figures import Figure
from benchmarks.pipelines import build_pipeline
from benchmarks.settings import Settings
from benchmarks.timing import take_turns
from spacy_torch.bridge.arrays import to_tensors
from spacy_torch.bridge.model import get_shim
from spacy_torch.bridge.parameter_groups import is_exempt_from_decay
from spacy_torch.bridge.torch_optimizers import build_adamw

BATCH = 128
BATCHES = 10
LEARN_RATE, WEIGHT_DECAY, CLIP = 0.001, 0.01, 1.0

MODEL = {
    "@architectures": "spacy-torch.TextCat.v1",
    "exclusive_classes": True,
    "encoder": {
        "@torch_encoders": "spacy-torch.HashEmbedCNN.v1",
        "width": WIDTH,
        "depth": 4,
        "attrs": ["NORM", "PREFIX", "SUFFIX", "SHAPE"],
        "rows": [2000, 1000, 1000, 1000],
    },
}


def measure(settings: Settings) -> list[Figure]:
    """The same module, loss and optimizer, through `update` and in a bare loop."""
    texts = read_banking77("train")
    names = sorted({text.labels[0] for text in texts})
    texts = texts[: BATCH * BATCHES]
    nlp, _ = build_pipeline("torch_textcat", MODEL, sample=texts, names=names)
    batches = list(batched(make_examples(nlp, texts, names), BATCH))
    bare = BareLoop(nlp, batches)  # takes a copy of the weights, before they move
    ours = Updates(nlp, batches)
    timing = take_turns(ours, bare, turns=2 if settings.quick else 15)
    return [
        Figure(
            "bare_loop, update on 128 texts",
            "bare torch loop",
            [ours / bare for ours, bare in zip(timing.ours, timing.peer, strict=True)],
            aim=1.05,
            better="lower",
            details={
                "required": 1.1,
                "seconds a turn": timing.medians(),
                "steps a turn": BATCHES,
                "last loss": {"ours": ours.loss, "peer": bare.loss},
            },
        )
    ]


class Updates:
    """The component's `update`, from examples to moved weights; one turn is all batches."""

    def __init__(self, nlp: Language, batches: Sequence[Sequence[Example]]) -> None:
        self.component: Any = nlp.get_pipe("torch_textcat")
        self.batches = batches
        self.optimizer = build_adamw(LEARN_RATE, weight_decay=WEIGHT_DECAY, grad_clip=CLIP)
        self.loss = 0.0

    def __call__(self, turn: int) -> None:
        """Take one step per batch."""
        for batch in self.batches:
            losses = self.component.update(batch, sgd=self.optimizer)
            self.loss = losses["torch_textcat"]


class BareLoop:
    """What one writes without spaCy, on features and targets that are tensors already."""

    def __init__(self, nlp: Language, batches: Sequence[Sequence[Example]]) -> None:
        component: Any = nlp.get_pipe("torch_textcat")
        logits = component.logits_model
        shim = get_shim(logits)
        self.module = copy.deepcopy(shim.module)
        self.loss_of = component.loss
        self.batches = [
            (
                to_tensors(logits.attrs["featurize"]([eg.predicted for eg in batch]), shim.device),
                torch.from_numpy(component.read_targets(batch)),
            )
            for batch in batches
        ]
        self.optimizer = _fused_adamw(self.module)
        self.loss = 0.0

    def __call__(self, turn: int) -> None:
        """Take one step per batch."""
        self.module.train()
        for features, targets in self.batches:
            self.optimizer.zero_grad()
            loss = self.loss_of(self.module(features), targets, None, exclusive=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.module.parameters(), CLIP)
            self.optimizer.step()
            self.loss = float(loss.detach())


def _fused_adamw(module: nn.Module) -> torch.optim.Optimizer:
    decayed: list[Tensor] = []
    exempt: list[Tensor] = []
    for name, parameter in module.named_parameters():
        (exempt if is_exempt_from_decay(name, parameter) else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": exempt, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=LEARN_RATE, fused=True)
