"""A torch module small enough to train in a test, and pipelines around it."""

from collections.abc import Sequence
from typing import Any

import numpy
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Model, PyTorchWrapper_v3, Softmax, chain
from thinc.types import ArgsKwargs
from torch import Tensor, nn

from spacy_torch.architectures.module import build_module
from spacy_torch.bridge.runtime import Runtime

TEXTS = {
    "good nice film": "good",
    "nice and fine": "good",
    "fine good": "good",
    "bad awful film": "bad",
    "awful and poor": "bad",
    "poor bad": "bad",
}
ROWS = 101


class Bag(nn.Module):
    """The mean of word vectors, one hidden layer, one score per label."""

    def __init__(self, n_labels: int, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.EmbeddingBag(ROWS, width)
        self.hidden = nn.Linear(width, width)
        self.dropout = nn.Dropout(0.0)
        self.output = nn.Linear(width, n_labels)

    def forward(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        hidden = torch.tanh(self.hidden(self.embed(*batch)))
        return self.output(self.dropout(hidden))


def number_words(docs: Sequence[Doc]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The number of each word, and where each document starts."""
    ids = [token.orth % ROWS for doc in docs for token in doc]
    starts = numpy.cumsum([0, *(len(doc) for doc in docs)])[:-1]
    return numpy.array(ids, dtype="int64"), starts.astype("int64")


@spacy.registry.architectures("tests.Bag.v1")
def build_bag(
    exclusive_classes: bool = True, runtime: Runtime | None = None
) -> Model[list[Doc], Any]:
    return build_module(Bag, number_words, exclusive_classes=exclusive_classes, runtime=runtime)


@spacy.registry.architectures("tests.ThincBag.v1")
def build_thinc_bag() -> Model[list[Doc], Any]:
    """The same module in Thinc's own wrapper, sized at initialization as tutorials do it."""
    wrapped = PyTorchWrapper_v3(Bag(1), convert_inputs=_convert_docs)
    model = chain(wrapped, Softmax(nI=1))
    model.init = _init_thinc_bag
    return model


def _convert_docs(model: Model[Any, Any], docs: list[Doc], is_train: bool) -> Any:
    batch = tuple(torch.from_numpy(array) for array in number_words(docs))
    return ArgsKwargs((batch,), {}), lambda d_inputs: []


def _init_thinc_bag(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    n_labels = Y.shape[1]
    model.layers[0].shims[0]._model = Bag(n_labels)
    model.layers[1].set_dim("nI", n_labels, force=True)
    model.layers[1].set_dim("nO", n_labels)
    model.layers[1].initialize()
    model.set_dim("nO", n_labels)


def make_nlp(
    factory: str = "torch_textcat",
    *,
    name: str | None = None,
    runtime: dict[str, Any] | None = None,
    **config: Any,
) -> Language:
    """A pipeline with an untrained classifier."""
    nlp = spacy.blank("en")
    if "model" not in config:
        model: dict[str, Any] = {"@architectures": "tests.Bag.v1"}
        if factory.startswith("torch_"):
            model["exclusive_classes"] = "multilabel" not in factory
        if runtime is not None:
            model["runtime"] = {"@misc": "spacy-torch.Runtime.v1", **runtime}
        config["model"] = model
    nlp.add_pipe(factory, name, config=config)
    return nlp


def make_examples(nlp: Language, labels: Sequence[str] = ("good", "bad")) -> list[Example]:
    """Texts with the value of every label."""
    return [
        Example.from_dict(
            nlp.make_doc(text), {"cats": {label: float(label == true) for label in labels}}
        )
        for text, true in TEXTS.items()
    ]


def train(nlp: Language, *, steps: int = 30, sgd: Any = None) -> Any:
    """Initialize the pipeline and train it; returns the optimizer."""
    examples = make_examples(nlp)
    created = nlp.initialize(lambda: examples)
    sgd = sgd or created
    for _ in range(steps):
        nlp.update(examples, sgd=sgd)
    return sgd


def predict(nlp: Language) -> list[dict[str, float]]:
    """The scores of all texts."""
    return [dict(doc.cats) for doc in nlp.pipe(TEXTS)]
