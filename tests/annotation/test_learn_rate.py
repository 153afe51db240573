"""A session's learning rate rises as its schedule says, and does not fall."""

import pytest
from thinc.api import Adam, warmup_linear

from spacy_torch.annotation.learn_rate import step_up
from spacy_torch.bridge.torch_optimizers import build_adamw


@pytest.mark.parametrize("build", [Adam, build_adamw])
def test_the_rate_warms_up_and_stays(build):
    optimizer = build(learn_rate=warmup_linear(0.01, 4, 10))
    rates = []
    for _ in range(20):
        step_up(optimizer)
        rates.append(optimizer.learn_rate)
    assert rates[:4] == pytest.approx([0.0025, 0.005, 0.0075, 0.01], abs=0.003)
    assert rates[5:] == pytest.approx([0.01] * 15)


@pytest.mark.parametrize("build", [Adam, build_adamw])
def test_a_rate_without_a_schedule_stays_as_it_is(build):
    optimizer = build(learn_rate=0.01)
    step_up(optimizer)
    assert optimizer.learn_rate == 0.01
