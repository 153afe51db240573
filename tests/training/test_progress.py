"""The logger of a training: what it prints, and what it hands on."""

import csv
import io
import math
import sys

import pytest
import tiny_textcat
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import registry

from spacy_torch.training import meter, progress_bar
from spacy_torch.training.progress import build_progress

N_TEXTS = len(tiny_textcat.TEXTS)
# Of the step numbered n, from 0: 0.01 * (1 - n / 10).
FALLING_RATE = {
    "@schedules": "warmup_linear.v1",
    "warmup_steps": 0,
    "total_steps": 10,
    "initial_rate": 0.01,
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def infos():
    """What a chained logger got: spaCy's own dictionaries, None for steps without evaluation."""
    got = []

    @registry.loggers("tests.Collecting.v1")
    def build_collecting():
        return lambda nlp, stdout, stderr: (got.append, lambda: got.append("finalized"))

    return got


@pytest.fixture
def run(tmp_path):
    """Train a tiny classifier, all texts in each step, evaluated before and after each second."""

    def run(*, factory="torch_textcat", stderr=None, training=None, max_steps=4, **settings):
        nlp = tiny_textcat.make_nlp(factory, **settings.pop("pipe", {}))
        docs = DocBin(docs=[example.reference for example in tiny_textcat.make_examples(nlp)])
        docs.to_disk(tmp_path / "texts.spacy")
        config = nlp.config.copy()
        corpus = {"@readers": "spacy.Corpus.v1", "path": str(tmp_path / "texts.spacy")}
        config["corpora"] = {"train": corpus, "dev": corpus}
        logger = {"@loggers": "spacy-torch.Progress.v1", **settings}
        config["training"].update(max_steps=max_steps, eval_frequency=2, logger=logger)
        config["training"]["optimizer"]["learn_rate"] = FALLING_RATE
        config["training"].update(training or {})
        nlp, output = init_nlp(config), io.StringIO()
        train(nlp, stdout=output, stderr=stderr or io.StringIO())
        assert "update" not in vars(nlp)
        return output.getvalue()

    return run


def test_table_has_a_row_for_each_evaluation_and_marks_the_best(run, infos):
    output = run(loggers=[{"@loggers": "tests.Collecting.v1"}])
    above, below, line, *rows = output.partition("Initial learn rate")[2].splitlines()[1:]
    assert above.split() == ["mean", "loss", "learning", "gradient", "memory", "time"]
    assert below.split() == (
        [
            "epoch",
            "step",
            "torch_textcat",
            "cats_score",
            "score",
            "rate",
            "norm",
            "words/s",
            "MiB",
            "left",
        ]
    )
    assert [row.split()[:2] for row in rows] == [["0", "0"], ["2", "2"], ["4", "4"]]
    evaluated = [info for info in infos if isinstance(info, dict)]
    best = -math.inf
    for row, info, n_steps in zip(rows, evaluated, (1, 2, 2), strict=True):
        cells = row.split()
        mean = info["losses"]["torch_textcat"] / (n_steps * N_TEXTS)
        assert cells[2] == f"{mean:.4g}"
        assert cells[3] == f"{100 * info['other_scores']['cats_score']:.2f}"
        assert ("*" in cells) == (info["score"] >= best)
        best = max(best, info["score"])
    assert {len(row) for row in (below, line, *rows)} == {len(line)}


def test_words_and_losses_are_those_of_all_processes(monkeypatch):
    nlp = tiny_textcat.make_nlp("torch_textcat")
    examples = tiny_textcat.make_examples(nlp)
    nlp.initialize(lambda: examples)
    monkeypatch.setattr(meter, "perf_counter", iter(range(100)).__next__)
    found = []
    for n_processes in (1, 3):
        measured = meter.Meter(nlp)
        measured.n_processes = n_processes
        measured.go_on()
        losses = nlp.update(examples)
        measured.take_step(evaluated=False)
        reading = measured.read(step=0, n_examples=1000)
        assert reading.losses["torch_textcat"] == pytest.approx(losses["torch_textcat"] / 1000)
        found.append(reading.words_per_second)
        measured.close()
    assert found == [sum(map(len, examples)), 3 * sum(map(len, examples))]


def test_chained_loggers_get_every_step_and_what_was_measured(run, infos):
    run(loggers={"collecting": {"@loggers": "tests.Collecting.v1"}}, gradient_norms=True)
    assert [info and "evaluation" for info in infos] == [
        *("evaluation", None, "evaluation", None, "evaluation"),
        "evaluation",  # the mark of the end
    ]
    *evaluated, end = [info for info in infos if info is not None]
    assert end == "finalized"
    for info, n_steps in zip(evaluated, (1, 2, 2), strict=True):
        measured = {name for name in info if name.startswith("progress.")}
        assert measured - {"progress.words_per_second"} == {
            "progress.loss.torch_textcat",
            "progress.learn_rate",
            "progress.gradient_norm",
            "progress.gradient_norm.torch_textcat",
            "progress.memory_mib",
        }
        # The first step was evaluated, so that its own time is not known.
        assert ("progress.words_per_second" in measured) == (n_steps > 1)
        mean = info["losses"]["torch_textcat"] / (n_steps * N_TEXTS)
        assert info["progress.loss.torch_textcat"] == pytest.approx(mean)
        assert info["progress.learn_rate"] == pytest.approx(0.01 * (1 - info["step"] / 10))
        assert info["progress.gradient_norm"] == info["progress.gradient_norm.torch_textcat"] > 0
        assert 10 < info["progress.memory_mib"] < 100_000


def test_pipeline_without_torch_modules_has_all_but_gradient_norms(run, infos):
    model = {
        "@architectures": "spacy.TextCatBOW.v3",
        "exclusive_classes": True,
        "ngram_size": 1,
        "no_output_layer": False,
    }
    output = run(
        factory="textcat",
        pipe={"model": model},
        gradient_norms=True,
        loggers=[{"@loggers": "tests.Collecting.v1"}],
    )
    assert "textcat" in output
    assert "gradient" not in output
    evaluated = [info for info in infos if isinstance(info, dict)]
    assert [info["progress.learn_rate"] for info in evaluated] == pytest.approx(
        [0.01, 0.008, 0.006]
    )
    assert not any("progress.gradient_norm" in info for info in evaluated)
    losses = [info["losses"]["textcat"] / n for info, n in zip(evaluated, (6, 12, 12), strict=True)]
    assert [info["progress.loss.textcat"] for info in evaluated] == pytest.approx(losses)


def test_frozen_component_is_not_logged():
    nlp = tiny_textcat.make_nlp()
    tiny_textcat.train(nlp, steps=1)
    output = io.StringIO()
    with nlp.select_pipes(disable=["torch_textcat"]):  # as spaCy's training does
        _, finalize = build_progress(gradient_norms=True)(nlp, output, io.StringIO())
    finalize()
    assert "step" in output.getvalue()
    assert "torch_textcat" not in output.getvalue()


def test_table_has_a_column_for_the_memory_of_a_gpu(run, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda device: 5 * 2**20)
    above, below, _, *rows = run().partition("Initial learn rate")[2].splitlines()[1:]
    assert above.split()[-3:] == ["memory", "GPU", "time"]
    assert below.split()[-3:] == ["MiB", "MiB", "left"]
    assert {row.split()[-2] for row in rows} == {"5"}


def test_csv_file_has_a_row_for_each_evaluation(run, tmp_path):
    run(csv=str(tmp_path / "logs" / "run.csv"), gradient_norms=True)
    with (tmp_path / "logs" / "run.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "2", "4"]
    assert [float(row["learn_rate"]) for row in rows] == pytest.approx([0.01, 0.008, 0.006])
    assert [row["words_per_second"] == "" for row in rows] == [True, False, False]
    assert all(float(row["score"]) == float(row["score.cats_score"]) for row in rows)
    assert all(float(row["gradient_norm.torch_textcat"]) > 0 for row in rows)
    assert rows[0]["is_best"] == "1"


def test_tensorboard_shows_what_was_measured(run, infos, tmp_path):
    run(tensorboard=str(tmp_path / "board"), loggers=[{"@loggers": "tests.Collecting.v1"}])
    curves = read_board(tmp_path / "board")
    evaluated = [info for info in infos if isinstance(info, dict)]
    for curve, name in [
        ("loss/torch_textcat", "progress.loss.torch_textcat"),
        ("learn_rate", "progress.learn_rate"),
        ("gradient_norm", "progress.gradient_norm"),
        ("score", "score"),
    ]:
        expected = [(info["step"], pytest.approx(info[name])) for info in evaluated]
        assert curves[curve] == expected
    assert curves["score/cats_score"] == curves["score"]


def test_training_that_starts_again_replaces_its_curves(run, tmp_path):
    run(tensorboard=str(tmp_path / "board"), max_steps=4)
    run(tensorboard=str(tmp_path / "board"), max_steps=2)
    assert [step for step, _ in read_board(tmp_path / "board")["score"]] == [0, 2]


def read_board(path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(path))
    board.Reload()
    return {
        tag: [(point.step, point.value) for point in board.Scalars(tag)]
        for tag in board.Tags()["scalars"]
    }


def test_missing_tensorboard_is_said_before_the_training(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r'pip install "spacy-torch\[tensorboard\]"'):
        run(tensorboard=str(tmp_path / "board"))


def test_terminal_gets_a_bar_with_the_latest_numbers(run, monkeypatch):
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_NUMBERS", 0.0)
    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)  # a thread, which outlives the test
    monkeypatch.setattr("tqdm.std.tqdm.update", update_at_once)
    terminal = Terminal()
    run(stderr=terminal)
    shown = [line for line in terminal.getvalue().split("\r") if line.strip()]
    assert any("3/4" in line and "words/s, loss torch_textcat" in line for line in shown)
    assert any("best" in line and "rate" in line and "norm" in line for line in shown)
    assert terminal.getvalue().split("\r")[-1].strip() == ""  # it leaves nothing behind


def update_at_once(bar, n=1):
    bar.n += n
    bar.refresh()


def test_file_gets_plain_lines_in_place_of_a_bar(run, monkeypatch):
    monkeypatch.setattr(progress_bar, "SECONDS_BETWEEN_LINES", 0.0)
    stream = io.StringIO()
    run(stderr=stream)
    lines = stream.getvalue().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["step 1 of 4", "step 3 of 4"]
    assert all("words/s, loss torch_textcat" in line for line in lines)
    assert "\r" not in stream.getvalue()


def test_nothing_is_printed_without_a_console(run):
    stream = io.StringIO()
    output = run(console=False, stderr=stream)
    assert "mean loss" not in output
    assert stream.getvalue() == ""


def test_consoles_of_others_can_take_the_place_of_ours(run):
    block = {"@loggers": "spacy.ConsoleLogger.v3", "progress_bar": None}
    output = run(console=False, loggers=[block])
    assert "E    #" in output


def test_measures_fit_the_patterns_of_loggers_of_others(run):
    block = {"@loggers": "spacy.LookupLogger.v1", "patterns": [r"^progress\.learn_rate"]}
    output = run(console=False, loggers=[block])
    assert "progress.learn_rate -> 0.01\n" in output


def test_file_of_something_else_is_refused_before_the_training(tmp_path):
    nlp = tiny_textcat.make_nlp()
    tiny_textcat.train(nlp, steps=1)
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    logger = build_progress(csv=tmp_path / "notes.csv")
    with pytest.raises(ValueError, match="has no column 'step' but 'a, b': name another file"):
        logger(nlp, io.StringIO(), io.StringIO())
    assert "update" not in vars(nlp)


@pytest.mark.parametrize("wrong", [["spacy.ConsoleLogger.v1"], [{"progress_bar": True}]])
def test_logger_that_is_none_is_refused(wrong):
    with pytest.raises(ValueError, match="each of loggers must be a block with @loggers"):
        registry.resolve({"logger": {"@loggers": "spacy-torch.Progress.v1", "loggers": wrong}})
