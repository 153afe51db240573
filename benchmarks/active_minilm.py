"""A few labels of each kind: our fast learner on vectors of a pretrained encoder (MiniLM)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np
import spacy
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from spacy.language import Language
from spacy.tokens import Doc

from benchmarks.corpus import batched, make_examples, read_banking77, read_sst2
from benchmarks.figures import Figure
from benchmarks.hf_transformer import find_minilm
from benchmarks.settings import Settings
from spacy_torch.training.labelled_text import LabelledText

WIDTH = 384
SHOTS = (2, 8, 16, 64)
OURS, PROBE = "MiniLM, FastTextCat.v1", "MiniLM, logistic regression"
NGRAMS = "n-grams, FastTextCat.v1"
# SetFit's final_results, mean of ten splits: all-mpnet-base-v2 (109 million parameters, all of
# them fine-tuned) on AG News, and the share of the accuracy at 64 that is reached before.
SETFIT = {2: 64.6, 8: 82.9, 16: 85.0, 64: 88.0}
PEER = "SetFit on AG News, mpnet-base fine-tuned"

Rows = Sequence[LabelledText]
Accuracies = dict[str, dict[int, list[float]]]


def measure_sst2(settings: Settings) -> list[Figure]:
    """Film reviews, good or bad: ten splits."""
    if not (settings.data / "sst2").is_dir():
        print(f"   no folder sst2 in {settings.data}: SST-2 is left out (see --data)", flush=True)
        return []
    train, test = (read_sst2(settings.data, part) for part in ("train", "test"))
    splits = [10] * len(SHOTS)
    return _measure("SST-2", train, test, splits, settings, pool=2000)


def measure_banking77(settings: Settings) -> list[Figure]:
    """All 77 intents, the official test: five splits, two with 64 texts of each intent."""
    train, test = read_banking77("train"), read_banking77("test")
    return _measure("BANKING77", train, test, [5, 5, 5, 2], settings, pool=2000)


def _measure(
    name: str, train: Rows, test: Rows, splits: Sequence[int], settings: Settings, *, pool: int
) -> list[Figure]:
    torch.set_num_threads(1)
    shots = SHOTS
    if settings.quick:
        test, shots, splits = test[:100], SHOTS[:2], [1, 1]
    names = sorted({row.labels[0] for row in train})
    pretrained = _make_pipeline(train, names, [], _encoder())
    ngrams = _make_pipeline(train, names, [row.text for row in train[:pool]], None)
    found: Accuracies = {ours: {} for ours in (OURS, PROBE, NGRAMS)}
    for n_each, n_splits in zip(shots, splits, strict=True):
        for split in range(n_splits):
            rows = _draw(train, names, n_each, seed=split)
            for ours, nlp in ((OURS, pretrained), (NGRAMS, ngrams)):
                accuracy = _learn(nlp, rows, test, names)
                found[ours].setdefault(n_each, []).append(accuracy)
            found[PROBE].setdefault(n_each, []).append(_probe(pretrained, rows, test))
        shown = {ours: round(100 * mean(one[n_each]), 1) for ours, one in found.items()}
        print(f"   {name}, {n_each} of each label: {shown}", flush=True)
    return _figures(name, found)


def _figures(name: str, found: Accuracies) -> list[Figure]:
    details = {
        ours: {
            n: {"mean": round(100 * mean(one), 2), "deviation": round(100 * _spread(one), 2)}
            for n, one in shots.items()
        }
        for ours, shots in found.items()
    }
    figures = [
        Figure(
            f"{name}, {n} texts of each label: accuracy of {OURS}",
            peer,
            [ours / theirs for ours, theirs in zip(found[OURS][n], found[peer][n], strict=True)],
            aim,
            details={"accuracy": details, "SetFit, AG News": SETFIT} if n == min(SHOTS) else {},
        )
        for peer, aim in ((PROBE, 0.95), (NGRAMS, None))
        for n in found[OURS]
    ]
    most = max(SHOTS)
    if most in found[OURS]:
        full, theirs = mean(found[OURS][most]), SETFIT[most]
        figures += [
            Figure(
                f"{name}, {OURS}: share at {n} of the accuracy at {most} texts of each label",
                PEER,
                [one / full / (SETFIT[n] / theirs) for one in found[OURS][n]],
                0.95,
            )
            for n in SHOTS[:-1]
        ]
    return figures


def _make_pipeline(
    train: Rows, names: Sequence[str], pool: Sequence[str], encoder: dict[str, Any] | None
) -> Language:
    nlp = spacy.blank("en")
    model: dict[str, Any] = {
        "@architectures": "spacy-torch.FastTextCat.v1",
        "exclusive_classes": True,
        "encoder": encoder,
    }
    textcat: Any = nlp.add_pipe("torch_textcat", config={"model": model})
    examples = make_examples(nlp, train[:2], names)
    textcat.initialize(lambda: examples, nlp=nlp, labels=names, pool=pool or None)
    return nlp


def _encoder() -> dict[str, Any]:
    return {
        "@torch_encoders": "spacy-torch.HFTransformer.v1",
        "name": find_minilm(),
        "width": WIDTH,
        "freeze": True,
    }


def _draw(train: Rows, names: Sequence[str], n_each: int, *, seed: int) -> list[LabelledText]:
    """So many texts of each label, or as many as there are."""
    order = np.random.default_rng(seed).permutation(len(train)).tolist()
    left = dict.fromkeys(names, n_each)
    rows: list[LabelledText] = []
    for place in order:
        (label,) = train[place].labels
        if left[label]:
            left[label] -= 1
            rows.append(train[place])
    return rows


def _learn(nlp: Language, rows: Rows, test: Rows, names: Sequence[str]) -> float:
    """The accuracy after one update, which is then taken back."""
    textcat: Any = nlp.get_pipe("torch_textcat")
    examples = make_examples(nlp, rows, names)
    textcat.learn_at_once(examples)
    guessed = [
        max(doc.cats, key=doc.cats.__getitem__)
        for batch in batched(test, 256)
        for doc in nlp.pipe([row.text for row in batch])
    ]
    textcat.forget([eg.predicted for eg in examples])
    return _accuracy(guessed, test)


def _probe(nlp: Language, rows: Rows, test: Rows) -> float:
    """The same of scikit-learn's regression on the same vectors."""
    model = LogisticRegression(C=10, max_iter=300)
    model.fit(_read(nlp, rows), [row.labels[0] for row in rows])
    return _accuracy(model.predict(_read(nlp, test)), test)


def _read(nlp: Language, rows: Rows) -> NDArray[np.float32]:
    textcat: Any = nlp.get_pipe("torch_textcat")
    vectors: Callable[[list[Doc]], Any] = textcat.vectors
    parts = [vectors([nlp.make_doc(row.text) for row in part]) for part in batched(rows, 256)]
    return np.concatenate([np.asarray(part) for part in parts])


def _accuracy(guessed: Sequence[str], test: Rows) -> float:
    return mean(float(guess == row.labels[0]) for guess, row in zip(guessed, test, strict=True))


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0
