"""The same torch module through our wrapper and through Thinc's, with Thinc's `Adam.v1`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from time import perf_counter

import numpy
import torch
from spacy.util import registry
from thinc.api import Model, PyTorchWrapper_v3
from torch import Tensor, nn

from benchmarks.figures import Figure, speed_figure
from benchmarks.settings import Settings
from benchmarks.timing import take_turns
from spacy_torch.bridge.model import wrap_module

PEER = "thinc PyTorchWrapper_v3"


def measure(settings: Settings) -> list[Figure]:
    """Whole update steps of modules from small to large."""
    steps, turns = (2, 2) if settings.quick else (50, 12)
    large_turns = 1 if settings.quick else 8
    small = {"rows": 64, "width": 96, "steps": steps, "turns": turns, "aim": 1.0}
    large = {"width": 768, "steps": 1, "turns": large_turns, "aim": 3.0}
    return [
        *_compare("wrapper, 2-layer MLP", build_mlp, **small)[:1],
        *_compare("wrapper, convolution", build_cnn, **small)[:1],
        *_compare("wrapper, 12-layer transformer, 16 rows", build_transformer, rows=16, **large),
        *_compare("wrapper, 12-layer transformer, 128 rows", build_transformer, rows=128, **large)[
            :1
        ],
    ]


def build_mlp() -> nn.Module:
    """A hidden layer: hardly any work beside the wrapper's own."""
    return nn.Sequential(nn.Linear(96, 128), nn.ReLU(), nn.Linear(128, 77))


def build_cnn() -> nn.Module:
    """A window of three over the rows, and a linear layer."""
    return Convolution()


def build_transformer() -> nn.Module:
    """BERT-base without its embeddings: 85 million parameters; the rows are one sequence."""
    layer = nn.TransformerEncoderLayer(768, 12, 3072, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 12, enable_nested_tensor=False)


class Convolution(nn.Module):
    """Takes the rows of a matrix as the tokens of one sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.window = nn.Conv1d(96, 96, 3, padding=1)
        self.output = nn.Linear(96, 77)

    def forward(self, x: Tensor) -> Tensor:
        """Score each row."""
        return self.output(torch.relu(self.window(x.T.unsqueeze(0)).squeeze(0).T))


class UpdateSteps:
    """Forward, backward and the optimizer's step; one turn is a number of them."""

    def __init__(self, model: Model, X: numpy.ndarray, *, n_outputs: int, steps: int) -> None:
        self.model = model
        self.X = X
        self.gradient = numpy.full((len(X), n_outputs), 1e-3, dtype="float32")
        self.gradient[::2] *= -1
        self.steps = steps
        self.optimizer_seconds: list[float] = []
        # As registered: averages are kept.
        self.optimizer = registry.resolve({"optimizer": {"@optimizers": "Adam.v1"}})["optimizer"]

    def __call__(self, turn: int) -> None:
        """Take the steps of a turn."""
        seconds = 0.0
        for _ in range(self.steps):
            _, backprop = self.model.begin_update(self.X)
            backprop(self.gradient)
            start = perf_counter()
            self.model.finish_update(self.optimizer)
            seconds += perf_counter() - start
        self.optimizer_seconds.append(seconds)


def _compare(
    name: str,
    build: Callable[[], nn.Module],
    *,
    rows: int,
    width: int,
    steps: int,
    turns: int,
    aim: float,
) -> list[Figure]:
    """The whole update, and the optimizer's step alone."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = build()
    X = numpy.random.default_rng(0).normal(size=(rows, width)).astype("float32")
    n_outputs = module(torch.from_numpy(X)).shape[1]
    wrapped = wrap_module(lambda: copy.deepcopy(module))
    stock = PyTorchWrapper_v3(copy.deepcopy(module))
    for model in (wrapped, stock):
        model.initialize(X=X)
    ours = UpdateSteps(wrapped, X, n_outputs=n_outputs, steps=steps)
    peer = UpdateSteps(stock, X, n_outputs=n_outputs, steps=steps)
    timing = take_turns(ours, peer, turns=turns)
    # Both must have learned the same, or the comparison is void.
    difference = numpy.abs(wrapped.predict(X) - stock.predict(X)).max()
    details = {
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "steps a turn": steps,
        # The rest is the module's own work, which no wrapper can make faster.
        "share of the optimizer's step": {
            "ours": _share(ours.optimizer_seconds[1:], timing.ours),
            "peer": _share(peer.optimizer_seconds[1:], timing.peer),
        },
        "largest difference of the outputs afterwards": float(f"{difference:.2g}"),
    }
    step_alone = Figure(
        f"{name}, optimizer's step alone",
        PEER,
        [
            theirs / own
            for own, theirs in zip(
                ours.optimizer_seconds[1:], peer.optimizer_seconds[1:], strict=True
            )
        ],
        aim,
    )
    return [speed_figure(name, PEER, timing, aim=aim, details=details), step_alone]


def _share(part: list[float], whole: list[float]) -> float:
    return round(sum(part) / sum(whole), 3)
