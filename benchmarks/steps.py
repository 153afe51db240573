"""One training step of a text classifier: `update` on a batch of 64 texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.corpus import batched, make_examples, merge_labels, read_banking77
from benchmarks.figures import Figure, speed_figure
from benchmarks.pipelines import OUR_BOW, STOCK_BOW, build_pipeline, measure_accuracy
from benchmarks.settings import Settings
from benchmarks.timing import take_turns
from spacy_torch.training.labelled_text import LabelledText

BATCH = 64
# A turn is a stretch of training. Right after the peer's, which streams hundreds of MB through
# the caches, the first steps of ours are two to three times slower than those that follow.
BATCHES = 50


def measure_bow(settings: Settings) -> list[Figure]:
    """A bag of words with 77 labels and 262,144 rows."""
    texts = read_banking77("train")
    return _compare("step_bow, 77 labels", "spacy.TextCatBOW.v3", texts, settings, aim=25.0)


def measure_ensemble_77(settings: Settings) -> list[Figure]:
    """The default models with 77 labels."""
    texts = read_banking77("train")
    return _compare("step_ensemble, 77 labels", "spacy.TextCatEnsemble.v2", texts, settings, 15.0)


def measure_ensemble_4(settings: Settings) -> list[Figure]:
    """The default models with 4 labels."""
    texts = merge_labels(read_banking77("train"), 4)
    return _compare("step_ensemble, 4 labels", "spacy.TextCatEnsemble.v2", texts, settings, 3.0)


class Learner:
    """Updates a component with the same batches again and again; one turn is all of them."""

    def __init__(
        self, factory: str, model: dict[str, Any] | None, texts: Sequence[LabelledText]
    ) -> None:
        names = sorted({text.labels[0] for text in texts})
        texts = texts[: BATCH * BATCHES]
        self.nlp, self.optimizer = build_pipeline(factory, model, sample=texts, names=names)
        self.component: Any = self.nlp.get_pipe(factory)
        self.examples = make_examples(self.nlp, texts, names)

    def __call__(self, turn: int) -> None:
        """Take one step per batch."""
        for batch in batched(self.examples, BATCH):
            self.component.update(batch, sgd=self.optimizer)


def _compare(
    name: str, peer_name: str, texts: Sequence[LabelledText], settings: Settings, aim: float
) -> list[Figure]:
    is_bow = peer_name == STOCK_BOW["@architectures"]
    ours = Learner("torch_textcat", OUR_BOW if is_bow else None, texts)
    peer = Learner("textcat", STOCK_BOW if is_bow else None, texts)
    timing = take_turns(ours, peer, turns=1 if settings.quick else 7)
    details = {
        "steps a turn": BATCHES,
        # A fast step that learns nothing would be no news.
        "accuracy on these texts afterwards": {
            "ours": measure_accuracy(ours.nlp, ours.examples),
            "peer": measure_accuracy(peer.nlp, peer.examples),
        },
    }
    return [speed_figure(name, peer_name, timing, aim=aim, details=details)]
