"""What goes wrong in services: threads, worker processes, inputs and outputs of other kinds.

Each test is a row of the comparison in the README; the twin on Thinc's own wrapper must
fail.
"""

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy
import pytest
import torch
from torch import Tensor, nn
from wrappers import fails_on_thinc, module_of, ours, thincs

TESTS = Path(__file__).parent.parent


def build_dropping() -> nn.Module:
    # Many layers: the longer a prediction takes, the surer another thread meets it.
    return nn.Sequential(*(nn.Dropout(0.5) for _ in range(40)))


@fails_on_thinc("wrap", ours, thincs, reason="predict() leaves the module in training mode")
def test_four_threads_predict_the_same_as_one(wrap):
    model = wrap(build_dropping)
    X = numpy.ones((20, 20), dtype="f")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            predicted = list(pool.map(lambda _: model.predict(X), range(400)))
    finally:
        sys.setswitchinterval(interval)
    assert sum(not (Y == X).all() for Y in predicted) == 0


@fails_on_thinc("wrap", ours, thincs, reason="predict() leaves the module in training mode")
def test_module_is_in_evaluation_mode_after_a_prediction(wrap):
    model = wrap(build_dropping)
    model.predict(numpy.ones((1, 1), dtype="f"))
    assert not module_of(model).training


PIPE = """
    import torch
    torch.set_num_threads(2)
    from tiny_textcat import TEXTS, make_nlp, predict, train

    if __name__ == "__main__":
        nlp = {make}
        train(nlp, steps=1)
        torch.randn(600, 600) @ torch.randn(600, 600)  # large enough to start torch's threads
        torch.randn(300000).tanh()
        alone = predict(nlp)
        {before}
        shared = [dict(doc.cats) for doc in nlp.pipe(TEXTS, n_process=2, batch_size=2)]
        assert len(shared) == len(alone) > 0
        for one, other in zip(shared, alone):
            assert one.keys() == other.keys() and all(
                abs(one[label] - other[label]) < 1e-6 for label in one
            ), (one, other)
"""
OURS = "make_nlp()"
THINCS = 'make_nlp("textcat", model={"@architectures": "tests.ThincBag.v1"})'
SPAWN = 'import multiprocessing; multiprocessing.set_start_method("spawn")'


def run_script(text: str, path: Path, *, timeout: float) -> None:
    """Run a script in a process of its own; when it hangs, end it with all its children."""
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, str(path)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 0, output


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="torch needs two threads for it")
@fails_on_thinc(
    "pipeline",
    (OURS, 120),
    (THINCS, 8),
    reason="forked workers wait for ever",
    raises=subprocess.TimeoutExpired,
)
def test_two_forked_processes_predict_the_same_as_one(pipeline, tmp_path):
    make, timeout = pipeline
    fork = 'import multiprocessing; multiprocessing.set_start_method("fork")'
    script = PIPE.format(make=make, before=fork)
    run_script(script, tmp_path / "pipe.py", timeout=timeout)


@pytest.mark.slow
def test_two_spawned_processes_predict_the_same_as_one(tmp_path):
    run_script(PIPE.format(make=OURS, before=SPAWN), tmp_path / "pipe.py", timeout=180)


class Embedding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.embed(ids)


@fails_on_thinc(
    "wrap", ours, thincs, reason="only floats can require gradients", raises=RuntimeError
)
def test_integers_are_inputs_too(wrap):
    model = wrap(Embedding)
    Y, backprop = model.begin_update(numpy.array([0, 1]))
    backprop(numpy.ones_like(Y))
    assert module_of(model).embed.weight.grad[:, 0].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"scores": self.linear(x)}


@fails_on_thinc("wrap", ours, thincs, reason="the gradient of a dict is not understood")
def test_dict_is_an_output_too(wrap):
    model = wrap(Named)
    Y, backprop = model.begin_update(numpy.ones((3, 2), dtype="f"))
    backprop({"scores": numpy.ones_like(Y["scores"])})
    assert module_of(model).linear.bias.grad.tolist() == [3.0, 3.0]


@fails_on_thinc("wrap", ours, thincs, reason="NumPy has no bfloat16", raises=TypeError)
def test_bfloat16_is_an_output_too(wrap):
    half = partial(nn.Linear, 2, 2, dtype=torch.bfloat16)
    model = wrap(lambda: nn.Sequential(_ToHalf(), half()))
    assert model.predict(numpy.ones((3, 2), dtype="f")).dtype == numpy.float32


class _ToHalf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.to(torch.bfloat16)
