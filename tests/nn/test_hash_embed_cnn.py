import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from token_batches import ROWS, make_batch

from spacy_torch.nn.hash_embed import TokenBatch
from spacy_torch.nn.hash_embed_cnn import HashEmbedCNN

SETTINGS = {"rows": ROWS, "width": 8, "depth": 2, "pieces": 2}


def make_encoder(**settings) -> HashEmbedCNN:
    encoder = HashEmbedCNN(**{**SETTINGS, **settings})
    for name, parameter in encoder.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return encoder.eval()


def encode_afresh(encoder: HashEmbedCNN, batch: TokenBatch) -> torch.Tensor:
    """With gradients on, nothing is remembered."""
    with torch.enable_grad():
        return encoder(batch).values.detach()


@pytest.mark.parametrize("vector_width", [0, 5])
def test_remembered_prediction_equals_a_fresh_one(vector_width):
    encoder = make_encoder(vector_width=vector_width)
    for lengths in ([3, 0, 4], [1], [0], [6, 2, 2, 5], []):
        batch = make_batch(lengths, vector_width=vector_width)
        with torch.no_grad():
            first, again = encoder(batch).values, encoder(batch).values
        torch.testing.assert_close(first, encode_afresh(encoder, batch), atol=1e-6, rtol=1e-5)
        assert torch.equal(first, again)
    assert len(encoder.cache) > 12


@pytest.mark.parametrize("window", [0, 1, 2])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("pieces", [1, 3])
def test_prediction_equals_a_pass_with_gradients_in_every_shape(window, depth, pieces):
    encoder = make_encoder(window=window, depth=depth, pieces=pieces)
    # More rows than are taken through a layer at a time, and sequences without any.
    for lengths in ([0, 1, 0, 2, 400, 0, 5, 7], [1], [0, 0]):
        batch = make_batch(lengths)
        with torch.no_grad():
            actual = encoder(batch).values
        torch.testing.assert_close(actual, encode_afresh(encoder, batch), atol=1e-6, rtol=1e-5)


def test_prediction_in_double_precision_is_exact():
    encoder = make_encoder().double()
    batch = make_batch([3, 200, 0, 4])
    with torch.no_grad():
        actual = encoder(batch).values
    torch.testing.assert_close(actual, encode_afresh(encoder, batch), atol=1e-13, rtol=1e-12)


def test_nothing_is_remembered_with_gradients_on_or_in_training():
    encoder = make_encoder()
    encoder(make_batch([3]))
    encoder.train()
    with torch.no_grad():
        encoder(make_batch([3]))
    assert len(encoder.cache) == 0


def test_training_forgets():
    encoder = make_encoder()
    with torch.no_grad():
        encoder(make_batch([3]))
    assert len(encoder.cache) > 0
    encoder.train()
    encoder(make_batch([3]))
    assert len(encoder.cache) == 0


def change_in_place(encoder, parameter):
    parameter.add_(torch.randn_like(parameter))


def change_storage(encoder, parameter):
    parameter.data = parameter + torch.randn_like(parameter)


def load_weights(encoder, parameter):
    encoder.load_state_dict(
        {name: t + torch.randn_like(t) for name, t in encoder.state_dict().items()}
    )


def assign_weights(encoder, parameter):
    state = {name: t + torch.randn_like(t) for name, t in encoder.state_dict().items()}
    encoder.load_state_dict(state, assign=True)


@pytest.mark.parametrize("change", [change_in_place, change_storage, load_weights, assign_weights])
@pytest.mark.parametrize(
    "name", ["embed.table", "embed.mix.weight", "embed.mix.norm.bias", "layers.0.weight"]
)
def test_change_of_a_weight_reaches_the_next_prediction(change, name):
    encoder, batch = make_encoder(), make_batch([3, 4])
    with torch.no_grad():
        before = encoder(batch).values
        change(encoder, encoder.get_parameter(name))
        after = encoder(batch).values
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, encode_afresh(encoder, batch), atol=1e-5, rtol=1e-5)


def test_copies_start_with_an_empty_cache_and_predict_the_same():
    encoder, batch = make_encoder(), make_batch([3, 4])
    with torch.no_grad():
        expected = encoder(batch).values
        for copied in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
            assert len(copied.cache) == 0
            assert torch.equal(copied(batch).values, expected)
    assert set(encoder.state_dict()) == {name for name, _ in encoder.named_parameters()}


def test_four_threads_predict_as_one_does():
    encoder = make_encoder()
    encoder.cache.capacity = 40  # small, so that it starts afresh again and again
    batches = [make_batch([3, 0, 5, 2]) for _ in range(200)]
    expected = [encode_afresh(encoder, batch) for batch in batches]

    def predict(batch):
        with torch.no_grad():
            return encoder(batch).values

    with ThreadPoolExecutor(4) as threads:
        actual = list(threads.map(predict, batches))
    for left, right in zip(actual, expected, strict=True):
        torch.testing.assert_close(left, right, atol=1e-6, rtol=1e-5)


def test_prediction_in_inference_mode_can_be_continued_outside():
    encoder = make_encoder()
    with torch.inference_mode():
        encoder(make_batch([5]))
    batch = make_batch([5, 5])
    with torch.no_grad():
        actual = encoder(batch).values
    torch.testing.assert_close(actual, encode_afresh(encoder, batch), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("window", [0, 1, 2])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_sequence_is_encoded_the_same_alone_and_among_others(window, depth):
    encoder = make_encoder(window=window, depth=depth)
    batch = make_batch([1, 0, 7, 3])
    together = encoder(batch).split()
    for tokens, types in zip(together, batch.inverse.split(batch.lengths.tolist()), strict=True):
        alone = batch._replace(inverse=types, lengths=torch.tensor([len(types)]))
        torch.testing.assert_close(encoder(alone).values, tokens, atol=1e-5, rtol=1e-5)


def test_token_is_encoded_from_its_window_only():
    encoder = make_encoder(depth=2, window=1)
    batch = make_batch([9])
    changed = batch._replace(inverse=batch.inverse.clone())
    changed.inverse[0] = (changed.inverse[0] + 1) % len(batch.keys)
    difference = (encoder(batch).values - encoder(changed).values).abs().sum(1)
    assert (difference[:3] > 1e-3).all()
    assert (difference[3:] < 1e-5).all()


@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_batch_without_tokens_can_be_encoded_and_differentiated(lengths):
    nothing = torch.zeros(0, dtype=torch.int64)
    batch = TokenBatch(
        torch.zeros(0, 2, 4, dtype=torch.int64),
        nothing,
        torch.tensor(lengths, dtype=torch.int64),
        nothing,
    )
    encoder = make_encoder()
    vectors = encoder(batch)
    assert vectors.values.shape == (0, 8)
    vectors.values.sum().backward()
    with torch.no_grad():
        assert encoder(batch).values.shape == (0, 8)


def test_bfloat16_autocast_stays_close():
    encoder, batch = make_encoder(), make_batch([5, 3])
    expected = encode_afresh(encoder, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = encoder(batch).values
        actual.float().sum().backward()
        with torch.no_grad():
            remembered = encoder(batch).values
    torch.testing.assert_close(actual.float(), expected, atol=0.1, rtol=0.1)
    torch.testing.assert_close(remembered.float(), expected, atol=0.1, rtol=0.1)
    assert not torch.equal(actual.float(), expected)
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())
    with torch.no_grad():
        torch.testing.assert_close(encoder(batch).values, expected, atol=1e-6, rtol=1e-5)


def test_dropout_follows_training_unless_it_is_given():
    following, pinned = make_encoder(), make_encoder(dropout=0.5)
    rates = {module.p for module in following.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.0}
    batch = make_batch([20])
    pinned.train()
    assert not torch.equal(pinned(batch).values, pinned(batch).values)


def test_missing_static_vectors_are_refused():
    with pytest.raises(ValueError, match="featurize with static_vectors=True"):
        make_encoder(vector_width=5)(make_batch([2]))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"depth": -1}, "depth must be >= 0, got -1"),
        ({"window": -1}, "window must be >= 0, got -1"),
        ({"width": 0}, "width must be at least 1, got 0"),
        ({"pieces": 0}, "pieces must be at least 1, got 0"),
        ({"rows": []}, r"rows must give a size of at least 1 for each attribute, got \[\]"),
        ({"rows": [5, 0]}, r"at least 1 for each attribute, got \[5, 0\]"),
    ],
)
def test_impossible_size_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        HashEmbedCNN(**{**SETTINGS, **setting})
