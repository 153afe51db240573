"""A training by several ranks ends with the files that one process would have written."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy
import pytest
import spacy
from rank_runs import run_training
from rank_training import read_weights
from ranks import run_ranks
from spacy.tokens import DocBin
from spacy.training import Corpus
from tiny_training import (
    ENCODER,
    OUR_TAGGER,
    STOCK_TAGGER,
    TOK2VEC,
    contents,
    make_config,
    write_corpora,
)

from spacy_torch.distributed.world import World
from spacy_torch.training.data_parallel import DataParallel

STILL = {**OUR_TAGGER, "encoder": {**ENCODER, "dropout": 0.0}}
PIPES = {
    "tok2vec": {"model": TOK2VEC},
    "tagger": {"model": STOCK_TAGGER},
    "torch_tagger": {"model": STILL},
}
SGD = {"@optimizers": "SGD.v1", "learn_rate": 0.01, "L2": 0.0, "grad_clip": 0.0}
TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    write_corpora(folder)
    return folder


def callbacks(folder: Path) -> dict[str, dict[str, str]]:
    return {
        "before_update": {"@callbacks": "tests.note_updates.v1", "folder": str(folder)},
        "before_to_disk": {"@callbacks": "tests.note_saved.v1", "folder": str(folder)},
    }


@pytest.mark.slow
def test_two_and_three_ranks_write_what_one_process_writes(folder, tmp_path):
    found = {}
    for size in (1, 2, 3):
        place = tmp_path / str(size)
        place.mkdir()
        logger = {"@loggers": "spacy-torch.Progress.v1", "csv": str(tmp_path / f"{size}.csv")}
        config = make_config(
            folder,
            PIPES,
            dropout=0.0,
            optimizer=SGD,
            **callbacks(place),
            accumulate_gradient=2,
            logger=logger,
        )
        assert run_ranks(run_training, size, config, place / "out") == [None] * size
        found[size] = place
    # What is trained on: every text once an epoch, by one rank or another.
    expected = Counter((found[1] / "updates.0").read_text().splitlines())
    for size in (2, 3):
        place = found[size]
        noted = [(place / f"updates.{n}").read_text() for n in range(size)]
        assert Counter("".join(noted).splitlines()) == expected
        steps = {(place / f"steps.{n}").read_text() for n in range(size)}
        assert steps == {(found[1] / "steps.0").read_text()}
        assert set((place / "saved").read_text().split()) == {"0"}
        for name in ("model-last", "model-best"):
            compare(place / "out" / name, found[1] / "out" / name)
        losses = [read_losses(tmp_path / f"{n}.csv") for n in (1, size)]
        for alone, together in zip(*losses, strict=True):
            assert together == pytest.approx(alone, rel=1e-4)


def read_losses(csv_log: Path) -> list[dict[str, float]]:
    """The mean losses of each evaluation."""
    with csv_log.open() as file:
        rows = list(csv.DictReader(file))
    assert rows
    return [{name: float(row[name]) for name in row if name.startswith("loss.")} for row in rows]


def compare(found: Path, expected: Path) -> None:
    """The same files, and the same numbers in them but for the last digits."""
    others = contents(expected)
    assert contents(found).keys() == others.keys()
    for name, content in contents(found).items():
        if not name.endswith(("model", "model.safetensors", "meta.json")):
            assert _unplaced(content) == _unplaced(others[name]), name
    told, others = (json.loads((path / "meta.json").read_text()) for path in (found, expected))
    assert told.pop("performance") == pytest.approx(others.pop("performance"), rel=1e-4)
    assert told == others
    weights, others = (read_weights(spacy.load(path)) for path in (found, expected))
    for name, value in others.items():
        numpy.testing.assert_allclose(weights[name], value, rtol=0, atol=1e-6, err_msg=name)


def _unplaced(content: bytes) -> list[bytes]:
    """Without the places that callbacks and logger write to."""
    mine = (b"folder = ", b"csv = ")
    return [line for line in content.splitlines() if not line.startswith(mine)]


@pytest.mark.slow
def test_a_streamed_corpus_is_shared_out_by_its_files(folder, tmp_path):
    (tmp_path / "files").mkdir()
    nlp = spacy.blank("en")
    docs = [eg.reference for eg in Corpus(folder / "train.spacy")(nlp)]
    for number, (start, stop) in enumerate([(0, 40), (40, 45), (45, 60)]):
        DocBin(docs=docs[start:stop]).to_disk(tmp_path / "files" / f"{number}.spacy")
    config = make_config(folder, PIPES, max_epochs=-1, max_steps=14, **callbacks(tmp_path))
    override = {"corpora.train.path": str(tmp_path / "files")}
    answers = run_ranks(run_training, 2, config, tmp_path / "out", dict.fromkeys((0, 1), override))
    assert answers == [None, None]
    epochs = []
    for rank in (0, 1):
        lines = (tmp_path / f"updates.{rank}").read_text().splitlines()
        epochs.append([line.partition(" ")[2] for line in lines if line.startswith("0 ")])
    # Rank 0 has the largest file and the smallest.
    assert [len(texts) for texts in epochs] == [45, 15]
    assert Counter(epochs[0] + epochs[1]) == Counter(doc.text for doc in docs)
    saved = spacy.load(tmp_path / "out" / "model-last")
    assert saved.config["corpora"]["train"]["@readers"] == "spacy.Corpus.v1"


def test_each_rank_takes_its_own_gpu_if_one_was_asked_for(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert DataParallel(World(7, 8)).choose_gpu(0) == 3
    assert DataParallel(World(7, 8)).choose_gpu(-1) == -1
    assert DataParallel(World()).choose_gpu(1) == 1


def test_only_the_first_rank_prints(capsys):
    for rank in (0, 1):
        with DataParallel(World(rank, 2)).speaking():
            print(f"rank {rank}")
    assert capsys.readouterr().out == "rank 0\n"


def test_ranks_with_other_examples_are_refused(folder, tmp_path):
    config = make_config(folder, PIPES)
    other = {1: {"corpora.train.path": str(folder / "dev.spacy")}}
    for answer in run_ranks(run_training, 2, config, tmp_path / "out", other):
        assert answer.startswith("NotTogetherError: the processes have different training examples")


def test_ranks_with_another_config_are_refused_before_anything_is_written(folder, tmp_path):
    config = make_config(folder, PIPES)
    other = {1: {"training.dropout": 0.5}}
    answers = run_ranks(run_training, 2, config, tmp_path / "out", other)
    assert answers[0] == answers[1] == (
        "NotTogetherError: the processes were not started alike: config.training.dropout is 0.2 on "
        "rank 0, 0.5 on rank 1. Give all of them the same config, overrides, code and packages"
    )  # fmt: skip
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_is_started_again_and_changes_nothing(folder, tmp_path, rank):
    """With dropout and Adam, to the last bit."""
    outputs = []
    for step in (7, -1):
        place = tmp_path / str(step)
        place.mkdir()
        kill = {"@callbacks": "tests.kill_once.v1", "folder": str(place), "rank": rank,
                "step": step}  # fmt: skip
        config = make_config(folder, PIPES, before_update=kill)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                   "--nproc-per-node", "2", "--max-restarts", "1", "-m", "spacy", "torch-train",
                   str(config), "-o", str(place / "out"), "--code", str(TESTS / "rank_runs.py"),
                   "--checkpoint-steps", "2", "--resume"]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=240, check=False, env=environment
        )
        assert result.returncode == 0, result.stderr
        assert (place / "killed").exists() == (step == 7)
        outputs.append(place / "out")
    for name in ("model-last", "model-best"):
        killed, undisturbed = (contents(output / name) for output in outputs)
        for contents_ in (killed, undisturbed):
            del contents_["config.cfg"]  # names the folder
        assert killed == undisturbed
