"""A batch is run in parts, and in smaller ones where memory runs out."""

import logging

import pytest
import spacy
import torch
from spacy.training import Example

from spacy_torch.bridge.gradients import all_or_nothing
from spacy_torch.bridge.model import get_shim
from spacy_torch.bridge.updates import Updates
from spacy_torch.components.batch_limit import BatchLimit

DATA = [
    ("good", "POS"),
    ("a bad film", "NEG"),
    ("", "POS"),
    ("what a very good film", "POS"),
    ("bad and sad", "NEG"),
]


class Memory:
    """Holds so many tokens; what does not fit is an error, as on a GPU."""

    def __init__(self, size):
        self.size = size
        self.seen = []

    def __call__(self, part):
        self.seen.append(list(part))
        if sum(part) > self.size:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return sum(part)


@pytest.mark.parametrize(
    ("tokens", "parts"),
    [
        (None, [[3, 1, 0, 5, 2]]),
        (100, [[3, 1, 0, 5, 2]]),
        (6, [[3, 1, 0], [5], [2]]),
        (4, [[3, 1, 0], [5], [2]]),
        (1, [[3], [1, 0], [5], [2]]),
    ],
)
def test_parts_have_at_most_so_many_tokens_unless_one_item_has_more(tokens, parts):
    lengths = [3, 1, 0, 5, 2]
    assert list(BatchLimit(tokens, name="x").run(list, lengths, lengths)) == parts


def test_function_is_not_called_for_nothing():
    assert list(BatchLimit(None, name="x").run(list, [], [])) == []


def test_part_that_finds_no_memory_is_halved_and_later_ones_stay_small(caplog):
    limit, memory = BatchLimit(None, name="tagger"), Memory(4)
    lengths = [2, 2, 2, 2, 1]
    with caplog.at_level(logging.WARNING, logger="spacy_torch"):
        assert list(limit.run(memory, lengths, lengths)) == [4, 4, 1]
        assert list(limit.run(memory, lengths, lengths)) == [4, 4, 1]
    assert memory.seen == [lengths, [2, 2], [2, 2], [1], [2, 2], [2, 2], [1]]
    (message,) = caplog.messages
    assert message.startswith("tagger: out of memory on 5 documents of 9 tokens")
    assert "at most 4 tokens at once" in message


def test_one_item_that_finds_no_memory_is_an_error():
    with pytest.raises(torch.cuda.OutOfMemoryError):
        list(BatchLimit(None, name="x").run(Memory(4), [1, 9], [1, 9]))


def test_other_errors_are_not_memory():
    def fail(part):
        raise RuntimeError("a matrix has another shape")

    with pytest.raises(RuntimeError, match="another shape"):
        list(BatchLimit(None, name="x").run(fail, [1, 1], [1, 1]))


def test_failed_backward_pass_leaves_the_gradients_of_those_before():
    weights = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))]
    weights[0].grad = torch.tensor([1.0, 2.0])
    with all_or_nothing(weights):
        (3 * weights[0] + 4 * weights[1]).sum().backward()

    def run_out():
        with all_or_nothing(weights):
            weights[1].sum().backward()
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run_out()
    assert [weight.grad.tolist() for weight in weights] == [[4.0, 5.0], [4.0, 4.0]]


def make_pipeline(**runtime):
    torch.manual_seed(0)
    nlp = spacy.blank("en")
    model = {
        "@architectures": "spacy-torch.TextCat.v1",
        "exclusive_classes": True,
        "encoder": {"@torch_encoders": "spacy-torch.HashEmbedCNN.v1", "width": 8, "depth": 1},
        "runtime": {"device": "cpu", **runtime},
    }
    nlp.add_pipe("torch_textcat", config={"model": model})
    examples = [
        Example.from_dict(
            nlp.make_doc(text), {"cats": {name: float(name == label) for name in ("POS", "NEG")}}
        )
        for text, label in DATA
    ]
    optimizer = nlp.initialize(lambda: examples)
    return nlp, examples, optimizer


def weights_of(nlp):
    module = get_shim(nlp.get_pipe("torch_textcat").logits_model).module
    return {name: weight.detach().clone() for name, weight in module.named_parameters()}


def test_update_that_runs_out_of_memory_makes_the_same_step(monkeypatch):
    nlp, examples, optimizer = make_pipeline()
    nlp.update(examples, sgd=optimizer, drop=0.0)
    expected = weights_of(nlp)

    nlp, examples, optimizer = make_pipeline()
    backward, calls = Updates.backward, []

    def run_out_once(*args):
        calls.append(len(calls))
        backward(*args)
        if len(calls) == 1:  # when all gradients are there already
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Updates, "backward", run_out_once)
    losses = nlp.update(examples, sgd=optimizer, drop=0.0)
    assert len(calls) > 2
    assert losses["torch_textcat"] == pytest.approx(5 * 0.6931, abs=0.5)
    for name, weight in weights_of(nlp).items():
        torch.testing.assert_close(weight, expected[name])


def test_prediction_that_runs_out_of_memory_annotates_every_document(monkeypatch):
    nlp, _, _ = make_pipeline()
    texts = [text for text, _ in DATA]
    expected = [doc.cats for doc in nlp.pipe(texts)]
    component = nlp.get_pipe("torch_textcat")
    predict = component.predict

    def run_out(docs):
        if len(docs) > 2:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9")
        return predict(docs)

    monkeypatch.setattr(component, "predict", run_out)
    found = [doc.cats for doc in nlp.pipe(texts)]
    assert found == [pytest.approx(cats, abs=1e-6) for cats in expected]
