import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from token_batches import ROWS, make_batch
from torch import Tensor, nn

from spacy_torch.nn.character_cnn import CharacterBatch, CharacterCNN
from spacy_torch.nn.hash_embed_cnn import HashEmbedCNN

SETTINGS = {"rows": 9, "character_width": 4, "width": 5, "window": 1}


def make_module(**settings) -> CharacterCNN:
    module = CharacterCNN(**{**SETTINGS, **settings}).double()
    nn.init.normal_(module.table)
    nn.init.normal_(module.bias)
    return module


def make_characters(lengths: list[int]) -> CharacterBatch:
    rows = torch.randint(1, 10, (sum(lengths),))
    return CharacterBatch(rows, torch.tensor(lengths, dtype=torch.int64))


def run_one_by_one(module: CharacterCNN, batch: CharacterBatch) -> Tensor:
    """torch's own convolution over each word between its edges."""
    window, weight = module.window, module.weight.permute(2, 1, 0)
    vectors = []
    for word in batch.rows.split(batch.lengths.tolist()):
        if not len(word):
            vectors.append(module.bias * 0)
            continue
        edged = nn.functional.pad(word, (window, window))
        found = nn.functional.conv1d(module.table[edged].t(), weight, module.bias)
        vectors.append(found.relu().amax(1))
    return torch.stack(vectors)


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    window=st.integers(0, 2),
)
def test_vector_of_a_word_is_the_largest_value_of_each_filter(lengths, window):
    module, batch = make_module(window=window), make_characters(lengths)
    actual, expected = module(batch), run_one_by_one(module, batch)
    torch.testing.assert_close(actual, expected)
    weights = torch.randn_like(expected)
    for found, wanted in zip(
        gradients(module, actual, weights), gradients(module, expected, weights), strict=True
    ):
        torch.testing.assert_close(found, wanted)


def gradients(module: CharacterCNN, vectors: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    parameters = list(module.parameters())
    # The zeros keep parameters in the graph that words without characters never meet.
    zeros = sum(parameter.sum() for parameter in parameters) * 0
    return torch.autograd.grad((vectors * weights).sum() + zeros, parameters)


@settings(deadline=None)
@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=6), data=st.data())
def test_characters_of_some_types_are_theirs(lengths, data):
    batch = make_characters(lengths)
    words = batch.rows.split(lengths)
    types = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=6))
    chosen = batch.of_types(torch.tensor(types, dtype=torch.int64))
    assert chosen.lengths.tolist() == [lengths[each] for each in types]
    assert chosen.rows.tolist() == [row for each in types for row in words[each].tolist()]


@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_no_characters_give_zeros_that_can_be_differentiated(lengths):
    vectors = make_module()(make_characters(lengths))
    assert torch.equal(vectors, torch.zeros(len(lengths), 5, dtype=torch.float64))
    vectors.sum().backward()


def test_bfloat16_autocast_stays_close():
    module, batch = make_module().float(), make_characters([3, 0, 5])
    expected = module(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = module(batch)
    torch.testing.assert_close(actual.float(), expected, atol=0.1, rtol=0.1)
    actual.float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


def test_encoder_reads_characters_and_remembers_them_with_the_type():
    characters = CharacterCNN(rows=9, character_width=4, width=5)
    encoder = HashEmbedCNN(rows=ROWS, width=6, depth=1, characters=characters).eval()
    for _ in range(3):
        batch = make_batch([3, 0, 4])
        batch = batch._replace(characters=make_characters([2] * len(batch.keys)))
        encoder.cache.clear()
        with torch.no_grad():
            first, again = encoder(batch).values, encoder(batch).values
        torch.testing.assert_close(first, encoder(batch).values, atol=1e-6, rtol=1e-5)
        assert torch.equal(first, again)
        others = batch._replace(
            characters=batch.characters._replace(rows=batch.characters.rows % 9 + 1)
        )
        assert not torch.allclose(encoder(others).values, encoder(batch).values)


def test_encoder_without_characters_keeps_the_names_of_its_weights():
    plain = HashEmbedCNN(rows=ROWS, width=6, depth=1)
    assert {name.split(".")[1] for name in plain.state_dict() if name.startswith("embed")} == {
        "table",
        "mix",
    }


def test_missing_characters_are_refused():
    characters = CharacterCNN(rows=9, character_width=4, width=5)
    encoder = HashEmbedCNN(rows=ROWS, width=6, depth=1, characters=characters)
    with pytest.raises(ValueError, match=r"the batch has none: featurize with characters=Hashed"):
        encoder(make_batch([2]))


@pytest.mark.parametrize("name", ["rows", "character_width", "width"])
def test_size_of_zero_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        make_module(**{name: 0})


def test_negative_window_is_refused():
    with pytest.raises(ValueError, match="window must be >= 0, got -1"):
        make_module(window=-1)
