"""Pipelines of several components, and modules that do odd things, trained by ranks."""

from collections.abc import Sequence
from typing import Any

import spacy
import torch
from rank_training import LEARN_RATE, Weights, read_weights, train
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import fix_random_seed
from thinc.api import SGD, Adam, Model, PyTorchWrapper_v3
from tiny_encoder import ENCODER
from tiny_textcat import Bag, number_words
from torch import nn

from spacy_torch.architectures.module import build_module
from spacy_torch.bridge.model import find_shims
from spacy_torch.bridge.runtime import Runtime
from spacy_torch.distributed.gradient_sum import GradientSum
from spacy_torch.distributed.same_weights import digest_weights, share_weights
from spacy_torch.distributed.world import find_world
from spacy_torch.training.shared_updates import find_trained, share_updates

SENTENCES = [
    ("she sees him", "PRP VBZ PRP"),
    ("go", "VB"),
    ("the old man sees a dog", "DT JJ NN VBZ DT NN"),
    ("dogs bark", "NNS VBP"),
    ("a man and a dog go", "DT NN CC DT NN VB"),
    ("the dog", "DT NN"),
    ("", ""),
]
STOCK = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "width": ENCODER["width"],
    "depth": 1,
    "embed_size": 100,
    "window_size": 1,
    "maxout_pieces": 2,
    "subword_features": True,
    "pretrained_vectors": None,
}
OURS = {"@architectures": "spacy-torch.Tok2Vec.v1", "encoder": ENCODER}
LISTENER = {"@architectures": "spacy.Tok2VecListener.v1", "width": ENCODER["width"]}


def make_pipeline(kind: str) -> Language:
    """A shared tok2vec and a tagger that listens to it, or something else by its name."""
    fix_random_seed(0)
    nlp = spacy.blank("en")
    if kind in ("stock", "ours"):
        nlp.add_pipe("tok2vec", config={"model": STOCK if kind == "stock" else OURS})
        tagger = {"@architectures": "spacy.Tagger.v2", "tok2vec": LISTENER}
        nlp.add_pipe("tagger", config={"model": tagger})
    if kind == "ours":
        encoder = {"@torch_encoders": "spacy-torch.FromTok2Vec.v1", "tok2vec": LISTENER}
        model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": encoder}
        nlp.add_pipe("torch_tagger", config={"model": model})
        nlp.add_pipe("senter")  # frozen in the test, as it has nothing to learn
    if kind == "transitions":
        nlp.add_pipe("parser", config={"min_action_freq": 1})
        nlp.add_pipe("ner")
    if kind == "ngrams":
        model = {"@architectures": "spacy-torch.TextCatBOW.v1", "exclusive_classes": True}
        nlp.add_pipe("torch_textcat", config={"model": model})
    if kind in ("poisoned", "overflowing", "norm"):
        nlp.add_pipe("torch_textcat", config={"model": {"@architectures": f"tests.rank_{kind}"}})
    return nlp


def make_examples(nlp: Language, n: int = len(SENTENCES)) -> list[Example]:
    """Sentences with all that the pipelines learn."""
    examples = []
    for number in range(n):
        words, tags = (text.split() for text in SENTENCES[number % len(SENTENCES)])
        doc = Doc(nlp.vocab, words)
        truth = {
            "tags": tags,
            "heads": [max(place - 1, 0) for place in range(len(words))],
            "deps": ["ROOT" if not place else "dep" for place in range(len(words))],
            "entities": ["U-X" if word == "dog" else "O" for word in words],
            "cats": {"short": float(len(words) < 3), "long": float(len(words) >= 3)},
        }
        examples.append(Example.from_dict(doc, truth if words else {"cats": truth["cats"]}))
    return examples


def learn(
    kind: str,
    *,
    n_docs: int = 7,
    batch_size: int = 7,
    accumulate: int = 1,
    frozen: Sequence[str] = (),
    annotating: Sequence[str] = (),
    adam: bool = False,
) -> tuple[Weights, str]:
    """The weights after some steps, and their digest."""
    nlp = make_pipeline(kind)
    examples = make_examples(nlp, n_docs)
    nlp.initialize(lambda: examples)
    batches = [
        [examples[(step * batch_size + place) % len(examples)] for place in range(batch_size)]
        for step in range(5)
    ]
    weights = train(
        nlp,
        batches,
        Adam(0.001) if adam else SGD(LEARN_RATE, grad_clip=0.0),
        accumulate=accumulate,
        frozen=frozen,
        annotating=annotating,
    )
    return weights, digest_weights(pipe.model for _, pipe in find_trained(nlp))


def learn_all(cases: dict[str, dict[str, Any]]) -> dict[str, tuple[Weights, str]]:
    """`learn` for several cases."""
    return {name: learn(**settings) for name, settings in cases.items()}


class Norm(Bag):
    """With running statistics."""

    def __init__(self, n_labels: int, width: int = 16) -> None:
        super().__init__(n_labels, width)
        self.dropout = nn.BatchNorm1d(width)


@spacy.registry.architectures("tests.rank_norm")
def build_norm() -> Model[list[Doc], Any]:
    return build_module(Norm, number_words, exclusive_classes=True)


class Poisoned(Bag):
    """Whose second update on rank 1 goes wrong."""

    n_updates = 0

    def forward(self, batch):
        scores = super().forward(batch).float()
        if self.training:
            self.n_updates += 1
            if self.n_updates == 2 and find_world().rank == 1:
                return self.spoil(scores)
        return scores

    def spoil(self, scores: torch.Tensor) -> torch.Tensor:
        """A loss that is NaN."""
        return scores * float("nan")


class Overflowing(Poisoned):
    """The same, but only a gradient is infinite."""

    def spoil(self, scores: torch.Tensor) -> torch.Tensor:
        """The same scores, with a gradient 1e37 times as large."""
        large = scores * 1e37
        return scores + (large - large.detach())


@spacy.registry.architectures("tests.rank_poisoned")
def build_poisoned() -> Model[list[Doc], Any]:
    return build_module(
        Poisoned, number_words, exclusive_classes=True, runtime=Runtime(non_finite="skip")
    )


@spacy.registry.architectures("tests.rank_overflowing")
def build_overflowing() -> Model[list[Doc], Any]:
    runtime = Runtime(precision="fp16", loss_scale=1024.0)
    return build_module(Overflowing, number_words, exclusive_classes=True, runtime=runtime)


def learn_poisoned(kind: str) -> tuple[str, int, list[bool]]:
    """The digest of the weights, how many steps were skipped, and which steps moved weights."""
    nlp = make_pipeline(kind)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    (shim,) = find_shims(nlp.get_pipe("torch_textcat").model)
    moved = []
    world = find_world()
    share_updates(nlp, GradientSum(world))
    optimizer = SGD(0.1)
    for _ in range(4):
        before = read_weights(nlp)
        nlp.update(examples[world.rank :: world.size], sgd=False)  # type: ignore[arg-type]
        nlp.get_pipe("torch_textcat").finish_update(optimizer)
        after = read_weights(nlp)
        moved.append(any((before[name] != after[name]).any() for name in before))
    models = [nlp.get_pipe("torch_textcat").model]
    return digest_weights(models), shim.skipped_steps, moved


def start_apart() -> tuple[list[bool], list[str]]:
    """Whether weights differed before they were shared, and after; and their digest."""
    world = find_world()
    nlp = make_pipeline("ours")
    torch.manual_seed(world.rank)
    examples = make_examples(nlp)
    nlp.initialize(lambda: examples)
    models = [pipe.model for _, pipe in find_trained(nlp)]
    before = digest_weights(models)
    for node in models[1].walk():  # a Thinc layer, which torch's seed does not reach
        for name in node.param_names:
            node.set_param(name, node.get_param(name) + world.rank)
    differed = [share_weights(models, world), share_weights(models, world)]
    return differed, [before, digest_weights(models)]


def start_with_other_shapes() -> None:
    """Share weights of another size on each rank."""
    world = find_world()
    share_weights([PyTorchWrapper_v3(nn.Linear(2, 3 + world.rank))], world)
