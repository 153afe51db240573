"""Plain `spacy train` writes checkpoints by a callback, and `torch-train --resume` goes on."""

import pytest
from spacy.cli.train import train as spacy_train
from spacy.util import registry
from tiny_training import (
    STOCK_NER,
    STOCK_TAGGER,
    TOK2VEC,
    contents,
    make_config,
    write_corpora,
)

from spacy_torch.training.checkpoint import read_checkpoint
from spacy_torch.training.train import train


class Stopped(BaseException):
    """As a kill, an exception that nobody catches."""


@pytest.fixture
def stops():
    """The steps at which the callback "test.stop_at" of a config stops the run."""
    steps = set()

    def stop(nlp, at):
        if at["step"] in steps:
            raise Stopped

    registry.callbacks.register("test.stop_at", func=lambda: stop)
    return steps


@pytest.fixture
def config(tmp_path):
    """Of a tagger, and of entities whose oracle draws random numbers."""
    write_corpora(tmp_path)
    return make_config(
        tmp_path,
        {
            "tok2vec": {"model": TOK2VEC},
            "tagger": {"model": STOCK_TAGGER},
            "ner": {"model": STOCK_NER},
        },
        before_update={
            "@callbacks": "spacy-torch.Checkpoint.v1",
            "path": str(tmp_path / "out"),
            "steps": 4,
            "then": {"@callbacks": "test.stop_at"},
        },
    )


def test_resumed_run_ends_as_plain_spacy_train_would_have(config, stops, tmp_path):
    output = tmp_path / "out"
    spacy_train(config, output)
    assert read_checkpoint(output).step == 8
    output.rename(tmp_path / "whole")
    stops.add(9)
    with pytest.raises(Stopped):
        spacy_train(config, output)
    stops.clear()
    train(config, output, resume=True)
    for name in ("model-best", "model-last"):
        assert contents(output / name) == contents(tmp_path / "whole" / name)


def test_training_without_a_seed_is_refused(config, tmp_path):
    with pytest.raises(ValueError, match=r"\[training\] seed is null.*give a number"):
        spacy_train(config, tmp_path / "out", overrides={"training.seed": None})


def test_checkpoint_of_the_run_before_is_set_aside(config, stops, tmp_path):
    output = tmp_path / "out"
    stops.add(5)
    with pytest.raises(Stopped):
        spacy_train(config, output)
    stops.add(1)
    with pytest.raises(Stopped):
        spacy_train(config, output)
    assert read_checkpoint(output) is None
    (output / "checkpoint.earlier").rename(output / "checkpoint")
    assert read_checkpoint(output).step == 4
