import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from token_batches import ROWS, make_batch, split_batch
from torch import Tensor, nn

from spacy_torch.nn.transformer_encoder import TransformerEncoder

SETTINGS = {"rows": ROWS, "width": 8, "depth": 2, "n_heads": 2, "feed_forward_width": 12}


def make_encoder(**settings) -> TransformerEncoder:
    encoder = TransformerEncoder(**{**SETTINGS, **settings})
    for name, parameter in encoder.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return encoder.eval()


def encode_by_hand(encoder: TransformerEncoder, values: Tensor) -> Tensor:
    """The layers written out for one sequence, which sees itself as a whole."""
    places = torch.arange(len(values)).unsqueeze(1)
    angles = places * 10_000.0 ** (-torch.arange(2) / 2)
    turn = torch.polar(torch.ones_like(angles), angles).unsqueeze(1)

    def rotate(vectors: Tensor) -> Tensor:
        left, right = vectors.chunk(2, dim=2)
        turned = torch.view_as_real(torch.complex(left, right) * turn)
        return torch.cat(turned.unbind(3), dim=2)

    for layer in encoder.layers:
        heads = layer.attention(layer.attention_norm(values)).view(len(values), 3, 2, 4)
        query, key, value = rotate(heads[:, 0]), rotate(heads[:, 1]), heads[:, 2]
        weights = (torch.einsum("qhw,khw->hqk", query, key) / 2).softmax(2)
        mixed = torch.einsum("hqk,khw->qhw", weights, value).flatten(1)
        values = values + layer.mix(mixed)
        inner = layer.feed_forward.input(layer.feed_forward_norm(values))
        if inner.shape[1] == 12:
            inner = nn.functional.gelu(inner)
        else:
            inner = nn.functional.silu(inner[:, :12]) * inner[:, 12:]
        values = values + layer.feed_forward.output(inner)
    return encoder.norm(values)


@pytest.mark.parametrize("kind", ["gelu", "swiglu"])
def test_encoder_is_its_layers_written_out(kind):
    encoder, batch = make_encoder(feed_forward=kind), make_batch([4, 0, 1, 4, 7])
    values = encoder.embed(batch)[batch.inverse]
    expected = [encode_by_hand(encoder, s) for s in values.split(batch.lengths.tolist())]
    torch.testing.assert_close(encoder(batch).values, torch.cat(expected), atol=1e-5, rtol=1e-5)


@settings(deadline=None)
@given(lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_sequence_is_encoded_the_same_alone_and_among_others(lengths):
    encoder, batch = make_encoder(window=3), make_batch(lengths)
    for together, alone in zip(encoder(batch).split(), split_batch(batch), strict=True):
        torch.testing.assert_close(encoder(alone).values, together, atol=1e-5, rtol=1e-5)


def test_window_changes_nothing_for_documents_within_it():
    narrow, wide = make_encoder(window=6), make_encoder(window=500)
    wide.load_state_dict(narrow.state_dict())
    within, beyond = make_batch([7, 3, 1]), make_batch([8])
    torch.testing.assert_close(narrow(within).values, wide(within).values)
    assert not torch.allclose(narrow(beyond).values, wide(beyond).values)


def test_token_of_a_long_document_is_encoded_from_its_neighbours_only():
    encoder, batch = make_encoder(depth=2, window=3), make_batch([30])
    changed = batch._replace(inverse=batch.inverse.clone())
    changed.inverse[0] = (changed.inverse[0] + 1) % len(batch.keys)
    difference = (encoder(batch).values - encoder(changed).values).abs().sum(1)
    assert (difference[:4] > 1e-4).all()
    assert (difference[7:] < 1e-5).all()  # two layers of three neighbours each


def test_ten_times_the_limit_can_be_trained():
    encoder = make_encoder(window=32).train()
    encoder(make_batch([330, 2, 330])).values.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_order_of_the_words_matters():
    encoder, batch = make_encoder(), make_batch([6])
    turned = batch._replace(inverse=batch.inverse.flip(0))
    assert not torch.allclose(encoder(turned).values.flip(0), encoder(batch).values, atol=1e-3)


@pytest.mark.parametrize("kind", ["gelu", "swiglu"])
def test_deep_encoder_learns_at_a_high_rate_without_warm_up(kind):
    # Which of two words came first in the sequence, told at the last token.
    encoder = TransformerEncoder(
        **{**SETTINGS, "width": 32, "depth": 6, "feed_forward_width": 128, "feed_forward": kind}
    ).train()
    head = nn.Linear(32, 2)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=1e-3)
    batch = make_batch([8] * 32, n_types=6)
    last = batch.lengths.cumsum(0) - 1
    answers = batch.inverse[last - 7] % 2
    losses = []
    for _ in range(60):
        logits = head(encoder(batch).values[last])
        loss = nn.functional.cross_entropy(logits, answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] < 1.5  # a fresh one is near log(2)
    assert max(losses) < 2
    assert losses[-1] < 0.05


@pytest.mark.parametrize("lengths", [[], [0, 0]])
@pytest.mark.parametrize("training", [False, True])
def test_batch_without_tokens_can_be_encoded_and_differentiated(lengths, training):
    encoder = make_encoder(dropout=0.5).train(training)
    vectors = encoder(make_batch(lengths))
    assert vectors.values.shape == (0, 8)
    assert vectors.lengths.tolist() == lengths
    vectors.values.sum().backward()


def test_bfloat16_autocast_stays_close():
    encoder, batch = make_encoder(), make_batch([5, 3])
    expected = encoder(batch).values.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = encoder(batch).values
    torch.testing.assert_close(actual.float(), expected, atol=0.2, rtol=0.1)
    actual.float().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_checkpointing_changes_no_gradient(dropout):
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        encoder = make_encoder(dropout=dropout, checkpointing=checkpointing).train()
        encoder(make_batch([5, 3])).values.square().sum().backward()
        gradients.append({name: p.grad for name, p in encoder.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0])


def test_dropout_follows_training_unless_it_is_given():
    following, pinned = make_encoder(), make_encoder(dropout=0.5)
    assert {m.p for m in following.modules() if isinstance(m, nn.Dropout)} == {0.0}
    batch = make_batch([20])
    assert torch.equal(pinned(batch).values, pinned(batch).values)
    pinned.train()
    assert not torch.equal(pinned(batch).values, pinned(batch).values)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"n_heads": 0}, "n_heads must be at least 1, got 0"),
        ({"feed_forward_width": 0}, "feed_forward_width must be at least 1, got 0"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"width": 6}, "even multiple of n_heads.*got width 6 and n_heads 2"),
        ({"feed_forward": "relu"}, "feed_forward must be one of gelu, swiglu, got 'relu'"),
    ],
)
def test_impossible_setting_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        make_encoder(**setting)


@pytest.mark.filterwarnings("ignore")  # of dynamo's own doings
@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_encoder_has_the_same_graphs_for_all_lengths(checkpointing):
    encoder = make_encoder(window=3, checkpointing=checkpointing).train()
    batches = [make_batch([*range(1, n + 1), 2]) for n in range(2, 9)]
    expected = [encoder(batch).values for batch in batches]
    graphs = []

    def record(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    encoder.before_compiling()
    encoder.compile(backend=record, dynamic=True)
    counts = []
    for batch, rows in zip(batches, expected, strict=True):
        encoded = encoder(batch).values
        encoded.sum().backward()
        counts.append(len(graphs))
        torch.testing.assert_close(encoded, rows, atol=1e-5, rtol=1e-5)
    torch.compiler.reset()
    assert counts[0] > 0
    assert counts[-1] == counts[1]
