"""Trainings whose processes are killed, again and again, against undisturbed ones."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import spacy
from spacy.tokens import Doc, DocBin

from benchmarks.figures import Figure
from benchmarks.processes import largest_difference
from benchmarks.run_processes import build_config, by_words, finish, train_processes
from benchmarks.settings import Settings

N_TEXTS, N_STEPS, BATCH, EVERY = 240, 60, 200, 5
CHECKPOINTS = ("--checkpoint-steps", str(EVERY), "--resume")
PIPELINES = ("model-last", "model-best")


def measure(settings: Settings) -> list[Figure]:
    """A tagger with dropout and Adam on 240 made-up sentences; a checkpoint every 5 steps.

    Compared are all files of `model-last` and `model-best` but the config, which names the
    folder.
    """
    n_kills = 2 if settings.quick else 20
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as temporary:
        corpus = Path(temporary)
        _write_corpora(corpus)
        expected = _train(corpus, "undisturbed", [])
        steps = random.Random(0)
        for name, rank, during in (
            ("rank 0", 0, "training"),
            ("rank 1", 1, "training"),
            ("rank 0 while it writes a checkpoint", 0, "writing"),
        ):
            print(f"   {name}", flush=True)
            kills = [
                {"rank": rank, "step": step, "while": during}
                for step in sorted(steps.sample(_times(during), n_kills))
            ]
            found = _train(corpus, name.replace(" ", "-"), kills)
            n_fired = len(list(found.glob("killed.*")))
            differing = [
                file
                for pipeline in PIPELINES
                for file in _differing(found / "out" / pipeline, expected / "out" / pipeline)
            ]
            figures.append(
                Figure(
                    f"killed_training, {name} killed at {n_kills} steps: files that differ",
                    "undisturbed",
                    [float(len(differing))],
                    aim=0.0,
                    better="lower",
                    unit="",
                    details={"kills": n_fired, "files": differing, "steps": N_STEPS},
                )
            )
            if n_fired < n_kills:
                raise RuntimeError(f"of {n_kills} kills of {name} only {n_fired} happened")
        figures += [_resume_with(corpus, size) for size in ((1,) if settings.quick else (1, 3))]
    return figures


def _times(during: str) -> range:
    """Steps at which something is to be killed; before a checkpoint, each one that has one."""
    return range(EVERY, N_STEPS, 1 if during == "training" else 2)


def _train(corpus: Path, name: str, kills: list[dict], *, dropout: float = 0.2) -> Path:
    """Train with two processes that are started anew when one is killed; the run's folder."""
    folder, config = _prepare(corpus, name, kills, dropout=dropout)
    run = train_processes(
        config, folder / "out", size=2, options=CHECKPOINTS, restarts=len(kills) + 1
    )
    finish(run, seconds=3600)
    return folder


def _resume_with(corpus: Path, size: int) -> Figure:
    """Kill a training of two processes as a whole and go on with another number of them.

    Without dropout, whose random numbers every process draws for itself.
    """
    print(f"   2 processes, then {size}", flush=True)
    alone, config = _prepare(corpus, f"to-{size}-undisturbed", [], dropout=0.0)
    finish(train_processes(config, alone / "out", size=2, options=CHECKPOINTS))
    folder, config = _prepare(corpus, f"to-{size}", [], dropout=0.0)
    run = train_processes(config, folder / "out", size=2, options=CHECKPOINTS)
    _kill_at(run, folder, step=N_STEPS // 2 + 3)
    finish(train_processes(config, folder / "out", size=size, options=CHECKPOINTS))
    first, second = (spacy.load(place / "out" / "model-last") for place in (alone, folder))
    scores = [nlp.meta["performance"]["tag_acc"] for nlp in (first, second)]
    return Figure(
        f"killed_training, all of 2 processes killed, gone on with {size}: difference of TAG",
        "undisturbed",
        [abs(scores[0] - scores[1]) * 100],
        aim=0.0,
        better="lower",
        unit="points",
        details={
            "largest difference of a parameter": largest_difference(first, second),
            "texts not learned exactly once an epoch": _count_wrong(folder),
            "epochs": N_STEPS * BATCH // _count_words(corpus),
        },
    )


def _kill_at(run: subprocess.Popen[str], folder: Path, *, step: int) -> None:
    """Kill a training and its launcher when the first process has come to a step."""
    while run.poll() is None:
        for file in folder.glob("learned.*.0"):
            lines = file.read_text().splitlines()
            if lines and int(lines[-1].split()[0]) >= step:
                # The launcher gives each process a group of its own.
                pids = {int(noted.name.split(".")[3]) for noted in folder.glob("learned.*")}
                for pid in (run.pid, *pids):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                run.communicate()
                if (folder / "out" / "finished.json").exists():
                    raise RuntimeError("the training ended before it was killed")
                return
        time.sleep(0.01)
    raise RuntimeError(f"the training ended before step {step}: {run.communicate()[0]}")


def _count_wrong(folder: Path) -> int:
    """Texts that were not learned from exactly once in an epoch that was gone through whole.

    A step that was made again after a kill counts as it was made last.
    """
    last: dict[int, tuple[float, list[tuple[int, int]]]] = {}
    for file in folder.glob("learned.*"):
        _, seconds, fraction, _, _ = file.name.split(".")
        began = float(f"{seconds}.{fraction}")
        for line in file.read_text().splitlines():
            step, epoch, text = map(int, line.split())
            # Those of one start began within a second or two; a new start is later than that.
            if step not in last or began > last[step][0] + 2:
                last[step] = (began, [])
            if abs(began - last[step][0]) <= 2:
                last[step][1].append((epoch, text))
    counts = Counter(learned for _, texts in last.values() for learned in texts)
    n_epochs = max(epoch for epoch, _ in counts)  # the last may have been cut short
    texts = {text for _, text in counts}
    return sum(counts[epoch, text] != 1 for epoch in range(n_epochs) for text in texts)


def _prepare(corpus: Path, name: str, kills: list[dict], *, dropout: float) -> tuple[Path, Path]:
    folder = corpus / name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    (folder / "kills.json").write_text(json.dumps(kills))
    encoder = {
        "@torch_encoders": "spacy-torch.HashEmbedCNN.v1",
        "width": 16,
        "depth": 1,
        "dropout": None if dropout else 0.0,
    }
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": encoder}
    config = build_config(
        {"torch_tagger": {"model": model}},
        corpus,
        gold=False,
        dropout=dropout,
        batcher=by_words(BATCH),
        max_steps=N_STEPS,
        eval_frequency=7,
        before_update={"@callbacks": "benchmarks.note_and_kill.v1", "folder": str(folder)},
    )
    config.to_disk(folder / "config.cfg")
    return folder, folder / "config.cfg"


def _write_corpora(folder: Path) -> None:
    """Sentences of two to nine made-up words, each of which has a letter as its tag."""
    draw = random.Random(0)
    vocab = spacy.blank("en").vocab
    words = [f"{letter}{number}" for letter in "abcdef" for number in range(30)]
    seen: set[str] = set()
    for part, count in (("train", N_TEXTS), ("dev", 40)):
        docs = DocBin()
        while len(docs) < count:
            chosen = [draw.choice(words) for _ in range(draw.randint(2, 9))]
            if " ".join(chosen) not in seen:  # to be told apart by its text
                seen.add(" ".join(chosen))
                docs.add(Doc(vocab, chosen, tags=[word[0] for word in chosen]))
        docs.to_disk(folder / f"{part}.spacy")


def _count_words(folder: Path) -> int:
    vocab = spacy.blank("en").vocab
    return sum(map(len, DocBin().from_disk(folder / "train.spacy").get_docs(vocab)))


def _differing(found: Path, expected: Path) -> list[str]:
    first, second = (_digests(folder) for folder in (found, expected))
    return [name for name in {**first, **second} if first.get(name) != second.get(name)]


def _digests(folder: Path) -> dict[str, str]:
    return {
        f"{folder.name}/{file.relative_to(folder)}": hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != "config.cfg"
    }
