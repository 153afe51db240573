import copy
import pickle
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from token_batches import ROWS, make_batch, split_batch
from torch import Tensor, nn

from spacy_torch.nn import int8
from spacy_torch.nn.hash_embed_cnn import HashEmbedCNN
from spacy_torch.nn.int8 import Int8Linear, Int8Matrix, round_rows
from spacy_torch.nn.int8_conversion import find_int8_layers, round_layers
from spacy_torch.nn.int8_maxout import Int8MaxoutNorm
from spacy_torch.nn.maxout import MaxoutNorm

SIZES = st.integers(1, 40)
CPU_INFO = Path("/proc/cpuinfo")


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(0, 5), inputs=SIZES, outputs=SIZES, seed=st.integers(0, 1000))
def test_product_is_that_of_the_rounded_rows_and_matrix(rows, inputs, outputs, seed):
    torch.manual_seed(seed)
    values, weight, bias = torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.ones(1)
    matrix, rounded = Int8Matrix.of(weight).eval(), round_rows(values)
    for integers, scale, original in (
        (rounded.values, rounded.scale, values),
        (matrix.weight, matrix.scale.unsqueeze(1), weight),
    ):
        assert ((integers * scale - original).abs() <= 0.5001 * scale).all()
        assert integers.abs().max(1).values.tolist() == [127] * len(original)
    exact = (rounded.values.double() * rounded.scale) @ matrix.to_float().double().t()
    torch.testing.assert_close(matrix(rounded).double(), exact, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(matrix(rounded, bias).double(), exact + 1, atol=1e-5, rtol=1e-5)


def test_row_of_zeros_gives_zeros_and_no_row_changes_another():
    linear = Int8Linear.of(nn.Linear(8, 4)).eval()
    rows = torch.stack([torch.zeros(8), torch.randn(8), 1000 * torch.randn(8)])
    found = linear(rows)
    assert linear.bias is not None
    assert torch.equal(found[0], linear.bias)
    assert torch.equal(found, torch.cat([linear(row.unsqueeze(0)) for row in rows]))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_value_that_is_not_finite_shows_in_its_row_alone(value):
    linear = Int8Linear.of(nn.Linear(8, 4)).eval()
    rows = torch.randn(3, 8)
    expected = linear(rows)
    rows[1, 5] = value
    found = linear(rows)
    assert not found[1].isfinite().any()
    assert torch.equal(found[[0, 2]], expected[[0, 2]])


def test_linear_layer_is_as_close_as_rounding_allows():
    layer = nn.Linear(300, 70)
    values = 3 * torch.randn(2, 5, 300)
    rounded = Int8Linear.of(layer).eval()
    half_value = values.abs().amax(2, keepdim=True) / 127 / 2
    half_weight = layer.weight.abs().amax(1) / 127 / 2
    bound = (
        values.abs().sum(2, keepdim=True) * half_weight
        + half_value * layer.weight.abs().sum(1)
        + 300 * half_value * half_weight
    )
    assert ((rounded(values) - layer(values)).abs() <= bound).all()
    # Errors of either sign: far below what they could add up to.
    torch.testing.assert_close(rounded(values), layer(values), atol=0.1, rtol=0)
    torch.testing.assert_close(rounded.weight, layer.weight, atol=1e-3, rtol=0)
    assert (rounded.in_features, rounded.out_features) == (300, 70)


def test_layer_without_a_bias_adds_none():
    rounded = Int8Linear.of(nn.Linear(8, 4, bias=False)).eval()
    assert rounded.bias is None
    assert not rounded(torch.zeros(2, 8)).any()


def test_rows_are_rounded_once_for_several_layers_until_they_change(monkeypatch):
    layers = [Int8Linear.of(nn.Linear(8, 4)).eval() for _ in range(3)]
    rounded = []
    monkeypatch.setattr(int8, "round_rows", lambda rows: rounded.append(rows) or round_rows(rows))
    values = torch.randn(2, 3, 8)
    first = [layer(values) for layer in layers]
    assert len(rounded) == 1
    assert all(
        torch.equal(layer(values.clone()), found)
        for layer, found in zip(layers, first, strict=True)
    )
    values.mul_(2)
    torch.testing.assert_close(layers[0](values), layers[0](values.clone()))
    with torch.inference_mode():
        values = torch.randn(2, 8)
        before = layers[0](values)
        values.zero_()
        assert not torch.equal(layers[0](values), before)


def test_processor_that_saturates_multiplies_floats_instead(monkeypatch):
    matrix = Int8Matrix.of(torch.randn(20, 30)).eval()
    rows = round_rows(torch.randn(7, 30))
    expected = matrix(rows)
    exact = int8._multiply
    calls = []

    def saturate(rows: Tensor, packed: Tensor, *, scale: Tensor, zeros: Tensor) -> Tensor:
        calls.append(len(rows))
        return exact(rows, packed, scale=scale, zeros=zeros).clamp(-32_768, 32_767)

    monkeypatch.setattr(int8, "_multiplies_fast", lambda: True)
    monkeypatch.setattr(int8, "_multiply", saturate)
    torch.testing.assert_close(copy.deepcopy(matrix)(rows), expected)
    assert calls == [2]  # the trial


@pytest.mark.parametrize(("times_floats", "is_used"), [(3.0, True), (1000.0, False)])
def test_processor_that_goes_number_by_number_multiplies_floats(monkeypatch, times_floats, is_used):
    matrix = Int8Matrix.of(torch.randn(20, 30)).eval()
    rows = round_rows(torch.randn(7, 30))
    expected = matrix(rows)
    exact, seconds, calls = int8._multiply, iter([times_floats, 1.0]), []
    monkeypatch.setattr(int8, "_least_seconds", lambda work: next(seconds))

    def multiply(rows: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        calls.append(len(rows))
        return exact(rows, *arguments, **keywords)

    monkeypatch.setattr(int8, "_multiply", multiply)
    monkeypatch.setattr(int8, "_multiplies_fast", int8._multiplies_fast.__wrapped__)
    torch.testing.assert_close(copy.deepcopy(matrix)(rows), expected)
    assert calls == ([2, 7] if is_used else [])


@pytest.mark.skipif(
    not CPU_INFO.exists() or "avx512_vnni" not in CPU_INFO.read_text(encoding="utf-8"),
    reason="the processor has no such instructions, or does not tell",
)
def test_instructions_of_the_processor_are_used():
    assert int8._multiplies_fast()


def test_torch_without_the_operators_multiplies_floats(monkeypatch):
    matrix = Int8Matrix.of(torch.randn(20, 30)).eval()
    rows = round_rows(torch.randn(7, 30))
    expected = matrix(rows)

    def fail(*arguments: object, **keywords: object) -> Tensor:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(int8, "_multiply", fail)
    monkeypatch.setattr(int8, "_multiplies_fast", int8._multiplies_fast.__wrapped__)
    torch.testing.assert_close(copy.deepcopy(matrix)(rows), expected)


def test_copies_are_equal_and_loaded_weights_count():
    linear, values = Int8Linear.of(nn.Linear(8, 4)).eval(), torch.randn(3, 8)
    expected = linear(values)
    for copied in (copy.deepcopy(linear), pickle.loads(pickle.dumps(linear))):
        assert torch.equal(copied(values), expected)
    other = Int8Linear.of(nn.Linear(8, 4)).eval()
    other(values)
    other.load_state_dict(linear.state_dict())
    assert torch.equal(other(values), expected)


def test_rounded_module_refuses_to_train():
    linear = Int8Linear.of(nn.Linear(8, 4)).train()
    with pytest.raises(RuntimeError, match="an exported module only predicts and cannot be train"):
        linear(torch.randn(3, 8))


def make_encoder(**settings) -> HashEmbedCNN:
    encoder = HashEmbedCNN(**{"rows": ROWS, "width": 32, "depth": 3, "pieces": 2, **settings})
    for name, parameter in encoder.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    round_layers(encoder, find_int8_layers(encoder))
    return encoder.eval()


@torch.no_grad()
def encode_slowly(encoder: HashEmbedCNN, batch) -> Tensor:
    """One sequence, row by row: each layer's input is rounded by one scale."""
    window, depth = encoder.window, len(encoder.layers)
    vectors, _ = encoder._type_tables(batch)
    margin = torch.full((window * depth,), len(batch.keys))
    hidden = vectors[torch.cat([margin, batch.inverse, margin])]
    for layer in cast("list[Any]", encoder.layers):
        windows = hidden.unfold(0, 2 * window + 1, 1).transpose(1, 2).flatten(1)
        if isinstance(layer, Int8MaxoutNorm):
            step = hidden.abs().max() / 127
            windows = (windows / step).round() * step
            pieces = F.linear(windows, layer.matrix.to_float(), layer.bias)
        else:
            pieces = windows @ layer.weight + layer.bias
        best = pieces.view(len(pieces), layer.pieces, -1).amax(1)
        hidden = hidden[window : len(hidden) - window] + layer.norm(best)
    return hidden


@pytest.mark.parametrize("window", [1, 2])
def test_rounded_convolutions_equal_those_of_rounded_numbers(window):
    encoder = make_encoder(window=window)
    assert [type(layer) for layer in encoder.layers] == [MaxoutNorm] + 2 * [Int8MaxoutNorm]
    batch = make_batch([3, 0, 600, 1, 7])
    parts = [part for part in split_batch(batch) if len(part.inverse)]
    expected = torch.cat([encode_slowly(encoder, part) for part in parts])
    # Grad mode makes no difference.
    for context in (torch.no_grad(), torch.enable_grad()):
        with context:
            found = encoder(batch)
        torch.testing.assert_close(found.values, expected, atol=1e-4, rtol=1e-4)
    assert encoder(make_batch([0, 0])).values.shape == (0, 32)


def test_rounded_convolutions_are_close_to_exact_ones_and_refuse_to_train():
    exact = HashEmbedCNN(rows=ROWS, width=32, depth=4).eval()
    encoder = copy.deepcopy(exact)
    round_layers(encoder, find_int8_layers(encoder))
    batch = make_batch([3, 10])
    with torch.no_grad():
        expected, found = exact(batch).values, encoder(batch).values
    assert 0 < (found - expected).norm() < 0.03 * expected.norm()
    torch.testing.assert_close(pickle.loads(pickle.dumps(encoder))(batch).values, found)
    with pytest.raises(RuntimeError, match="an exported module only predicts and cannot be train"):
        encoder.train()(batch)


def test_maxout_of_plain_rows_is_rounded_too():
    exact = MaxoutNorm(100, width=50, pieces=3, dropout=None).eval()
    rows = torch.randn(20, 100)
    torch.testing.assert_close(Int8MaxoutNorm.of(exact)(rows), exact(rows), atol=0.1, rtol=0)


def test_only_large_layers_are_rounded():
    module = nn.ModuleDict(
        {
            "large": nn.Linear(64, 64),
            "small": nn.Linear(64, 63),
            "attention": nn.MultiheadAttention(64, 1),
            "encoder": HashEmbedCNN(rows=ROWS, width=32, depth=2),
            "narrow": HashEmbedCNN(rows=ROWS, width=8, depth=2),
        }
    )
    assert find_int8_layers(module) == ["large", "encoder.layers.1"]


def test_layers_that_cannot_be_rounded_are_named():
    module = nn.Sequential(nn.LayerNorm(4))
    with pytest.raises(ValueError, match="no layer '1' to round to 8 bits"):
        round_layers(module, ["1"])
    with pytest.raises(ValueError, match="'0' cannot be rounded to 8 bits: it is a LayerNorm"):
        round_layers(module, ["0"])
