"""Training as spaCy's loop does it, on each rank's share of the same batches."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy
import torch
from spacy.language import Language
from spacy.training import Example
from spacy.training.loop import subdivide_batch
from spacy.util import fix_random_seed
from test_contract import make_examples, make_pipeline
from thinc.api import SGD, Optimizer

from spacy_torch.bridge.model import find_shims
from spacy_torch.distributed.gradient_sum import GradientSum
from spacy_torch.distributed.world import find_world
from spacy_torch.training.sharded_evaluation import share_evaluation
from spacy_torch.training.shared_updates import find_trained, share_updates

Weights = dict[str, numpy.ndarray]
# So small that no component runs away without clipping; differences would be as large as that.
LEARN_RATE = 0.002


def train(
    nlp: Language,
    batches: Iterable[Sequence[Example]],
    optimizer: Optimizer,
    *,
    accumulate: int = 1,
    frozen: Sequence[str] = (),
    annotating: Sequence[str] = (),
) -> Weights:
    """The weights after a step on each batch."""
    world = find_world()
    share_updates(nlp, GradientSum(world), frozen=frozen)
    for batch in batches:
        share = list(batch)[world.rank :: world.size]
        for part in subdivide_batch(share, accumulate):
            nlp.update(part, sgd=False, exclude=frozen, annotates=annotating)  # type: ignore[arg-type]
        for _, pipe in find_trained(nlp, frozen=frozen):
            pipe.finish_update(optimizer)
        optimizer.step_schedules()
    return read_weights(nlp)


def read_weights(nlp: Language) -> Weights:
    """Copies of all parameters, by component, place in the model and name."""
    found: Weights = {}
    for name, pipe in find_trained(nlp):
        for place, node in enumerate(pipe.model.walk()):
            for param in node.param_names:
                found[f"{name}/{place}/{param}"] = node.get_param(param).copy()
            for shim in node.shims:
                module: torch.nn.Module = shim._model
                for param, value in module.state_dict().items():
                    found[f"{name}/{place}/{param}"] = value.numpy().copy()
    return found


def train_components(factories: Sequence[str], *, steps: int = 3) -> dict[str, Weights]:
    """The weights of each component, by its factory, after learning its few texts in float64."""
    return {factory: _train_component(factory, steps=steps) for factory in factories}


def _train_component(factory: str, *, steps: int) -> Weights:
    fix_random_seed(0)
    nlp = make_pipeline(factory)
    examples = make_examples(nlp, factory)
    nlp.initialize(lambda: examples)
    for shim in find_shims(nlp.get_pipe(factory).model):  # type: ignore[attr-defined]
        shim.module.double()
    return train(nlp, [examples] * steps, SGD(LEARN_RATE, grad_clip=0.0))


def run(work: Callable[..., Any], *args: Any) -> Any:
    """Call a function by way of its name; what it raised, as text."""
    try:
        return work(*args)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def evaluate_both_ways(factory: str, n_examples: int | None = None) -> tuple[Any, Any]:
    """The scores of a trained component by one process, and by all ranks."""
    fix_random_seed(0)
    nlp = make_pipeline(factory)
    examples = make_examples(nlp, factory)
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(15):
        nlp.update(examples, sgd=optimizer)
    examples = make_examples(nlp, factory)[:n_examples]
    alone = nlp.evaluate(examples)
    share_evaluation(nlp, find_world())
    together = nlp.evaluate(examples)
    del alone["speed"], together["speed"]
    return alone, together


def fail_to_score() -> None:
    """Evaluate with a scorer that fails."""
    nlp = make_pipeline("torch_tagger")
    examples = make_examples(nlp, "torch_tagger")
    nlp.initialize(lambda: examples)
    nlp.get_pipe("torch_tagger").scorer = lambda examples, **_: {}["no such key"]  # type: ignore[attr-defined]
    share_evaluation(nlp, find_world())
    try:
        nlp.evaluate(examples)
    finally:
        assert "pipe" not in vars(nlp)
