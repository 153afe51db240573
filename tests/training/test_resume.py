"""A training that was stopped and resumed ends as if it had never been stopped, byte for byte."""

from functools import partial

import pytest
from spacy.cli.train import train as spacy_train
from spacy.util import registry
from tiny_training import (
    ENCODER,
    OUR_TAGGER,
    OUR_TOK2VEC,
    STOCK_NER,
    STOCK_TAGGER,
    TOK2VEC,
    contents,
    make_config,
    write_corpora,
)

from spacy_torch.training.train import train

ADAM = {"@optimizers": "Adam.v1", "learn_rate": 0.01, "use_averages": True}
WARMUP = {
    "@schedules": "warmup_linear.v1",
    "warmup_steps": 5,
    "total_steps": 40,
    "initial_rate": 0.02,
}
ADAMW = {"@optimizers": "spacy-torch.AdamW.v1", "learn_rate": WARMUP, "use_averages": True}
GROUPS = {
    **ADAMW,
    "groups": [
        {"pattern": r"torch_tagger\.", "learn_rate_factor": 0.5},
        {"pattern": r"torch_textcat\.", "weight_decay": 0.1},
    ],
}
LOWER_CASE = {"@augmenters": "spacy.lower_case.v1", "level": 0.5}
STREAMED = {"max_epochs": -1, "augmenter": LOWER_CASE}
COMPOUNDING = {
    "@batchers": "spacy.batch_by_sequence.v1",
    "size": {"@schedules": "compounding.v1", "start": 4, "stop": 20, "compound": 1.2},
}
BILSTM = {
    "@architectures": "spacy.Tok2Vec.v2",
    "embed": {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": 8,
        "attrs": ["NORM", "SHAPE"],
        "rows": [50, 50],
        "include_static_vectors": False,
    },
    "encode": {
        "@architectures": "spacy.TorchBiLSTMEncoder.v1",
        "width": 8,
        "depth": 1,
        "dropout": 0.0,
    },
}
FP16 = {"@misc": "spacy-torch.Runtime.v1", "precision": "fp16", "loss_scale": 1e30}
TEXTCAT = {
    "@architectures": "spacy-torch.TextCat.v1",
    "encoder": ENCODER,
    "exclusive_classes": True,
}
PARSER = {**STOCK_NER, "state_type": "parser"}


TRAININGS = {
    "stock tagger that listens, Adam with averages": partial(
        make_config,
        pipes={"tok2vec": {"model": TOK2VEC}, "tagger": {"model": STOCK_TAGGER}},
        optimizer=ADAM,
    ),
    "our tagger, AdamW with a schedule and averages": partial(
        make_config, pipes={"torch_tagger": {"model": OUR_TAGGER}}, optimizer=ADAMW
    ),
    "our tagger in half precision, its scale changing": partial(
        make_config,
        pipes={"torch_tagger": {"model": {**OUR_TAGGER, "runtime": FP16}}},
        optimizer=ADAMW,
    ),
    "our tok2vec under stock listeners, whose oracles draw": partial(
        make_config,
        pipes={
            "tok2vec": {"model": OUR_TOK2VEC},
            "ner": {"model": STOCK_NER},
            "parser": {"model": PARSER, "min_action_freq": 1},
        },
        optimizer=ADAMW,
    ),
    "two of ours in groups, small steps of large batches": partial(
        make_config,
        pipes={"torch_tagger": {"model": OUR_TAGGER}, "torch_textcat": {"model": TEXTCAT}},
        optimizer=GROUPS,
        accumulate_gradient=3,
        batcher=COMPOUNDING,
    ),
    "a torch module of Thinc's": partial(
        make_config,
        pipes={"tagger": {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": BILSTM}}},
        optimizer=ADAM,
    ),
    "an annotating component before another": partial(
        make_config,
        pipes={
            "torch_tagger": {"model": OUR_TAGGER},
            "tok2vec": {"model": TOK2VEC},
            "tagger": {"model": STOCK_TAGGER},
        },
        annotating_components=["torch_tagger"],
        optimizer=ADAM,
    ),
    "a streamed corpus, augmented": partial(
        make_config,
        pipes={"tok2vec": {"model": TOK2VEC}, "ner": {"model": STOCK_NER}},
        optimizer=ADAM,
        **STREAMED,
    ),
}


class Stopped(BaseException):
    """As a kill, an exception that nobody catches."""


@pytest.fixture
def stop():
    """Set its `step`, and a config with `callback` stops there."""

    class Stop:
        callback = {"@callbacks": "test.stop"}
        step = None

        def __call__(self, nlp, at):
            if at["step"] == self.step:
                raise Stopped

    stop = Stop()
    registry.callbacks.register("test.stop", func=lambda: stop)
    return stop


FIRST = 2
SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in [*TRAININGS][FIRST:]]


@pytest.mark.parametrize("kind", [*[*TRAININGS][:FIRST], *SLOW])
def test_resumed_run_ends_as_the_undisturbed_one(kind, tmp_path, stop):
    write_corpora(tmp_path)
    config = TRAININGS[kind](tmp_path, before_update=stop.callback)
    train(config, tmp_path / "whole", steps=4)
    stop.step = 9
    with pytest.raises(Stopped):
        train(config, tmp_path / "cut", steps=4)
    stop.step = None
    train(config, tmp_path / "cut", steps=4, resume=True)
    for name in ("model-best", "model-last"):
        assert contents(tmp_path / "cut" / name) == contents(tmp_path / "whole" / name)


@pytest.mark.parametrize("kind", [*TRAININGS][:FIRST])
def test_run_with_checkpoints_ends_as_that_of_spacy_train(kind, tmp_path):
    write_corpora(tmp_path)
    config = TRAININGS[kind](tmp_path)
    train(config, tmp_path / "ours", steps=4)
    spacy_train(config, tmp_path / "stock")
    for name in ("model-best", "model-last"):
        assert contents(tmp_path / "ours" / name) == contents(tmp_path / "stock" / name)
