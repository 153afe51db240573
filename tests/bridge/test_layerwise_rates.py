import re

import numpy
import pytest
import spacy
import torch
from spacy.training import Example
from tiny_transformer import WIDTH, make_transformer
from torch import nn

from spacy_torch.bridge.layerwise_rates import build_layerwise_rates
from spacy_torch.bridge.model import get_shim
from spacy_torch.bridge.step import step
from spacy_torch.bridge.torch_optimizer import GRACE
from spacy_torch.bridge.torch_optimizers import build_sgd


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("encoder.transformer.encoder.layer.11.output.dense.weight", 0),
        ("encoder.transformer.encoder.layer.1.output.dense.weight", 10),
        ("transformer.layers.0.mlp.Wi.weight", 11),  # ModernBERT
        ("encoder.transformer.block.0.layer.1.layer_norm.weight", 11),  # T5
        ("transformer.embeddings.word_embeddings.weight", 13),
        ("transformer.final_norm.weight", 13),
        ("output.weight", None),
        ("encoder.mix.weights", None),
    ],
)
def test_parameter_belongs_to_its_layer(name, place):
    groups = build_layerwise_rates(12)
    found = [i for i, group in enumerate(groups) if re.search(group["pattern"], name)]
    assert (found[0] if found else None) == place


def test_rates_fall_from_the_top_layer_to_the_embeddings():
    groups = build_layerwise_rates(2, learn_rate_factor=0.1, decay=0.5, unfreeze_every=10)
    assert groups.pop(2)["refuse"]  # a third layer
    assert [group["learn_rate_factor"] for group in groups] == [0.1, 0.05, 0.025]
    assert [group["unfreeze_step"] for group in groups] == [10, 20, 30]
    assert all("unfreeze_step" not in group for group in build_layerwise_rates(2))


def test_layers_of_a_transformer_learn_one_after_the_other(tmp_path):
    nlp = spacy.blank("en")
    encoder = {
        "@torch_encoders": "spacy-torch.HFTransformer.v1",
        "name": str(make_transformer(tmp_path)),
        "width": WIDTH,
    }
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": encoder}
    nlp.add_pipe("torch_tagger", config={"model": model})
    example = Example.from_dict(nlp.make_doc("a fish can"), {"tags": ["DT", "NN", "MD"]})
    nlp.initialize(lambda: [example])
    optimizer = build_sgd(0.1, groups=build_layerwise_rates(2, unfreeze_every=2))
    module = get_shim(nlp.get_pipe("torch_tagger").logits_model).module
    has_moved = []
    for _ in range(7):
        before = {name: value.detach().clone() for name, value in module.named_parameters()}
        nlp.update([example], sgd=optimizer)
        moved = {n for n, value in module.named_parameters() if not value.equal(before[n])}
        parts = ["output.", "layer.1.", "layer.0.", "embeddings."]
        has_moved.append([any(part in name for name in moved) for part in parts])
    # The classifier starts at zero: its first update tells nothing to what lies below.
    expected = [[True, step >= 2, step >= 4, step >= 6] for step in range(7)]
    numpy.testing.assert_array_equal(has_moved, expected)


@pytest.mark.parametrize(
    ("n_layers", "message"),
    [
        (1, "the parameter tagger.transformer.layer.1.weight belongs to no group"),
        (3, r"no parameter matches '.*2\\\\.' of the optimizer's groups"),
    ],
)
def test_other_number_of_layers_than_the_transformer_has_is_an_error(n_layers, message):
    names = ["transformer.word.weight", "transformer.layer.0.weight", "transformer.layer.1.weight"]
    parameters = {name: nn.Parameter(torch.ones(1)) for name in names}
    optimizer = build_sgd(0.1, groups=build_layerwise_rates(n_layers))

    def train() -> None:
        for _ in range(GRACE + 1):
            step(optimizer, parameters, shim_id=1, owner="tagger")

    hint = rf": spacy-torch\.LayerwiseRates\.v1 was given n_layers = {n_layers}, which must be"
    with pytest.raises(ValueError, match=message + ".*" + hint):
        train()


def test_mistakes_are_told_together():
    message = (
        r"LayerwiseRates\.v1: n_layers must be >= 1, got 0; learn_rate_factor must be > 0, got 0; "
        r"decay must be > 0 and <= 1, got 1\.5; unfreeze_every must be >= 0, got -1"
    )
    with pytest.raises(ValueError, match=message):
        build_layerwise_rates(0, learn_rate_factor=0, decay=1.5, unfreeze_every=-1)
