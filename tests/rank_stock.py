"""spaCy's own components, trained by ranks."""

from collections.abc import Sequence

from architectures.test_stock_components import make_examples, make_nlp
from rank_training import LEARN_RATE, Weights, train
from spacy.util import fix_random_seed
from thinc.api import SGD


def train_stock(factories: Sequence[str]) -> dict[str, Weights]:
    """The weights of each component, by its factory, after a few steps on a few sentences."""
    return {factory: _train(factory) for factory in factories}


def _train(factory: str) -> Weights:
    fix_random_seed(0)
    nlp = make_nlp(factory, is_shared=False)
    nlp.initialize(lambda: make_examples(nlp))
    return train(nlp, [make_examples(nlp)] * 3, SGD(LEARN_RATE, grad_clip=0.0))
