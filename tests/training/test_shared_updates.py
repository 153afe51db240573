"""What several ranks cannot train together is refused, all of it at once and by name."""

from types import SimpleNamespace

import pytest
import spacy
from thinc.api import Linear, PyTorchWrapper_v3, Shim
from thinc.shims.pytorch_grad_scaler import PyTorchGradScaler
from torch import nn

from spacy_torch.distributed.gradient_sum import GradientSum
from spacy_torch.distributed.world import World
from spacy_torch.training.shared_updates import check_covered, find_trained, share_updates


def test_components_that_cannot_be_covered_are_named():
    scaler = PyTorchGradScaler(enabled=True)
    mixed = PyTorchWrapper_v3(nn.Linear(2, 2), grad_scaler=scaler, mixed_precision=False)
    foreign = Linear(2, 2)
    foreign.shims.append(Shim(None))
    pipes = [
        ("good", SimpleNamespace(model=Linear(2, 2))),
        ("mixed", SimpleNamespace(model=mixed)),
        ("foreign", SimpleNamespace(model=foreign)),
        ("bare", SimpleNamespace(model=nn.Linear(2, 2))),
    ]
    with pytest.raises(ValueError, match="not to be trained by several processes") as refused:
        check_covered(pipes)
    message = str(refused.value)
    assert "'mixed' uses Thinc's mixed precision" in message
    assert "'foreign' has layers behind a Shim, not of torch or Thinc" in message
    assert "'bare' has a Linear as its model, whose gradients nobody can find" in message
    assert "'good'" not in message


def test_only_what_the_loop_steps_is_trained():
    nlp = spacy.blank("en")
    for name in ("sentencizer", "tagger", "ner"):
        nlp.add_pipe(name)
    assert [name for name, _ in find_trained(nlp, frozen=["ner"])] == ["tagger"]


def test_one_process_is_left_as_it_is():
    nlp = spacy.blank("en")
    tagger, ner = nlp.add_pipe("tagger"), nlp.add_pipe("ner")
    kind = type(ner.model)
    share_updates(nlp, GradientSum(World()))
    assert "finish_update" not in vars(tagger)
    assert type(ner.model) is kind
