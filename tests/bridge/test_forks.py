import multiprocessing
import os

import pytest
import torch
from tiny_textcat import TEXTS, make_nlp, predict, train

from spacy_torch.bridge import shim
from spacy_torch.bridge.forks import check_process

GPU, CPU = torch.device("cuda:0"), torch.device("cpu")
SENTENCE = r"its module is on the GPU \(cuda:0\), which a forked process cannot use: call nlp.pipe"


def test_module_on_a_gpu_is_refused_in_another_process_only():
    here, other = os.getpid(), os.getpid() + 1
    check_process(here, GPU, name="tagger")
    check_process(other, CPU, name="tagger")
    check_process(other, None, name="tagger")
    with pytest.raises(RuntimeError, match=f"^tagger: {SENTENCE}"):
        check_process(other, GPU, name="tagger")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_pipe_with_two_processes_says_what_to_do_about_a_gpu(monkeypatch):
    nlp = make_nlp()
    train(nlp, steps=1)
    # As if the module were on a GPU, which this process may use.
    monkeypatch.setattr(
        shim, "check_process", lambda process, _, *, name: check_process(process, GPU, name=name)
    )
    monkeypatch.setattr("spacy.language.mp", multiprocessing.get_context("fork"))
    assert predict(nlp)
    with pytest.raises(ValueError, match=SENTENCE):
        list(nlp.pipe(TEXTS, n_process=2, batch_size=2))
