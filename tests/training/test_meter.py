"""What is measured of a training: held against the same numbers got in another way."""

import math
import mmap
import sys

import pytest
import spacy
import tiny_textcat
import torch
from torch.nn.utils import clip_grad_norm_

from spacy_torch.bridge.model import find_shims
from spacy_torch.training import memory
from spacy_torch.training.counted_update import CountedUpdate
from spacy_torch.training.meter import Meter


@pytest.fixture
def nlp():
    """Two classifiers with a torch module each."""
    nlp = tiny_textcat.make_nlp(name="first")
    model = {"@architectures": "tests.Bag.v1"}
    nlp.add_pipe("torch_textcat", "second", config={"model": model})
    return nlp


def norm_by_torch(nlp, *names):
    """The total that torch's clipping returns; clipped to infinity, nothing changes."""
    shims = [shim for name in names for shim in find_shims(nlp.get_pipe(name).model)]
    parameters = [parameter for shim in shims for parameter in shim.module.parameters()]
    return float(clip_grad_norm_(parameters, math.inf))


def test_gradient_norms_are_those_of_torch_and_averaged_over_the_steps(nlp):
    examples = tiny_textcat.make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.grad_clip = 1e-3  # far below all of them: the norms are those before clipping
    meter = Meter(nlp)
    norms = {"first": [], "second": [], "both": []}
    for _ in range(3):
        nlp.update(examples, sgd=False)
        norms["first"].append(norm_by_torch(nlp, "first"))
        norms["second"].append(norm_by_torch(nlp, "second"))
        norms["both"].append(norm_by_torch(nlp, "first", "second"))
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
        meter.take_step(evaluated=False)
    reading = meter.read(step=2)
    means = {name: sum(values) / 3 for name, values in norms.items()}
    assert reading.gradient_norm == pytest.approx(means.pop("both"), rel=1e-5)
    assert reading.gradient_norms == pytest.approx(means, rel=1e-5)
    assert means["first"] > 0.01


def test_component_that_made_no_step_has_no_norm(nlp):
    examples = tiny_textcat.make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=optimizer)
    meter = Meter(nlp)
    nlp.update(examples, sgd=optimizer, exclude=["first"])
    meter.take_step(evaluated=False)
    reading = meter.read(step=0)
    assert reading.gradient_norms == {"second": reading.gradient_norm}


def test_shim_without_a_step_knows_neither_norm_nor_rate(nlp):
    nlp.initialize(lambda: tiny_textcat.make_examples(nlp))
    (shim,) = find_shims(nlp.get_pipe("first").model)
    assert (shim.gradient_norm, shim.learn_rate) == (None, None)


def test_refused_steps_are_counted_and_leave_the_norms_alone():
    nlp = tiny_textcat.make_nlp(runtime={"non_finite": "skip"})
    examples = tiny_textcat.make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    meter = Meter(nlp)
    (shim,) = find_shims(nlp.get_pipe("torch_textcat").model)
    nlp.update(examples, sgd=optimizer)
    meter.take_step(evaluated=False)
    norm = meter.read(step=0).gradient_norm
    nlp.update(examples, sgd=False)
    next(shim.module.parameters()).grad.fill_(math.nan)
    nlp.get_pipe("torch_textcat").finish_update(optimizer)
    meter.take_step(evaluated=False)
    reading = meter.read(step=1)
    assert reading.skipped_steps == {"torch_textcat": 1}
    assert reading.gradient_norm == norm


def test_losses_are_means_over_the_examples_of_all_sub_batches(nlp):
    examples = tiny_textcat.make_examples(nlp)
    nlp.initialize(lambda: examples)
    meter = Meter(nlp)
    losses = {}
    nlp.update(examples[:4], sgd=False, losses=losses)
    nlp.update(iter(examples[4:]), sgd=False, losses=losses)
    meter.take_step(evaluated=True)
    assert meter.read(step=0).losses == {
        "first": pytest.approx(losses["first"] / 6),
        "second": pytest.approx(losses["second"] / 6),
    }


def test_losses_that_a_resumed_training_goes_on_with_are_left_out(nlp):
    examples = tiny_textcat.make_examples(nlp)
    nlp.initialize(lambda: examples)
    meter = Meter(nlp)
    losses = {"first": 1000.0}
    nlp.update(examples, sgd=False, losses=losses)
    nlp.update(examples, sgd=False, losses=losses)
    assert meter.read(step=7).losses["first"] == pytest.approx((losses["first"] - 1000.0) / 12)
    meter.start()
    losses = {}
    nlp.update(examples, sgd=False, losses=losses)
    assert meter.read(step=8).losses["first"] == pytest.approx(losses["first"] / 6)


def test_pace_counts_the_steps_alone(nlp, monkeypatch):
    now = 0.0
    monkeypatch.setattr("spacy_torch.training.meter.perf_counter", lambda: now)
    examples = tiny_textcat.make_examples(nlp)
    nlp.initialize(lambda: examples)
    n_words = sum(len(example.predicted) for example in examples)
    meter = Meter(nlp)
    assert meter.read(step=0).words_per_second is None
    # Before the first one, the data were read.
    for seconds, evaluated in [(70.0, False), (2.0, False), (100.0, True), (3.0, False)]:
        nlp.update(examples, sgd=False)
        now += seconds
        meter.take_step(evaluated=evaluated)
        now += 50.0  # what loggers and the saving of checkpoints take
        meter.go_on()
    assert meter.read(step=3).words_per_second == pytest.approx(2 * n_words / 5.0)
    meter.start()
    assert meter.read(step=2).words_per_second is None


def test_stand_in_for_update_is_removed_and_gives_way_to_others(nlp):
    nlp.initialize(lambda: tiny_textcat.make_examples(nlp))
    first = CountedUpdate(nlp)
    second = CountedUpdate(nlp)
    nlp.update(tiny_textcat.make_examples(nlp))
    assert (first.n_examples, second.n_examples) == (6, 6)
    first.remove()  # not the one in use
    assert nlp.update is second
    second.remove()
    assert nlp.update is first
    first.remove()
    assert "update" not in vars(nlp)
    assert nlp.update.__func__ is spacy.language.Language.update


def test_resident_memory_is_what_linux_says(monkeypatch, tmp_path):
    # In pages: all of the program, resident, shared, ...
    (tmp_path / "statm").write_text("9000 700 300 2 0 800 0\n")
    monkeypatch.setattr(memory, "_STATM", tmp_path / "statm")
    assert memory.resident_bytes() == 700 * mmap.PAGESIZE


def test_peak_stands_in_for_resident_memory_elsewhere(monkeypatch, tmp_path):
    held = bytearray(2**26)
    monkeypatch.setattr(memory, "_STATM", tmp_path / "missing")
    assert memory.resident_bytes() > len(held)
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert memory.resident_bytes() is None


def test_gpu_memory_is_the_most_of_all_devices_together(monkeypatch):
    assert memory.gpu_bytes() is None or torch.cuda.is_initialized()
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda device: 100 + device)
    assert memory.gpu_bytes() == 100 + 101
