import pytest
import torch

from spacy_torch.nn.bag_of_ngrams import BagOfNgrams, NgramBatch
from spacy_torch.nn.bilstm import BiLSTM
from spacy_torch.nn.character_cnn import CharacterBatch, CharacterCNN
from spacy_torch.nn.hash_embed import TokenBatch
from spacy_torch.nn.hash_embed_cnn import HashEmbedCNN
from spacy_torch.nn.pooling import build_pooling
from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.transformer_encoder import TransformerEncoder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def to_gpu(batch):
    if batch is None or isinstance(batch, torch.Tensor):
        return None if batch is None else batch.cuda()
    return type(batch)(*map(to_gpu, batch))


def assert_same_on_gpu(module, batch):
    """Outputs and gradients; the batch holds no floats that need any."""
    on_cpu = module(batch)
    on_cpu = on_cpu.values if isinstance(on_cpu, Ragged) else on_cpu
    on_cpu.sum().backward()
    expected = {name: p.grad.to_dense().clone() for name, p in module.named_parameters()}
    module.zero_grad()
    module.cuda()
    on_gpu = module(to_gpu(batch))
    on_gpu = on_gpu.values if isinstance(on_gpu, Ragged) else on_gpu
    on_gpu.sum().backward()
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, atol=1e-4, rtol=1e-4)
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(
            parameter.grad.to_dense().cpu(), expected[name], atol=1e-3, rtol=1e-3
        )


@pytest.mark.parametrize("kind", ["mean", "max", "first", "last", "attention"])
def test_pooling_on_a_gpu_equals_that_on_the_cpu(kind):
    tokens = Ragged(torch.randn(9, 4), torch.tensor([4, 0, 5]))
    pooling = build_pooling(kind, 4)
    expected = pooling(tokens)
    torch.testing.assert_close(pooling.cuda()(to_gpu(tokens)).cpu(), expected)


def test_bag_on_a_gpu_equals_that_on_the_cpu():
    batch = NgramBatch(
        torch.tensor([1, 4, 6]), torch.tensor([[2, 0], [1, 2]]), torch.tensor([1, 0, 1])
    )
    bag = BagOfNgrams(rows=8, n_labels=3)
    torch.nn.init.normal_(bag.weight)
    assert_same_on_gpu(bag, batch)


def make_tokens() -> TokenBatch:
    return TokenBatch(
        rows=torch.randint(50, (6, 2, 4)),
        inverse=torch.randint(6, (40,)),
        lengths=torch.tensor([10, 0, 29, 1]),
        keys=torch.arange(6),
    )


def make_encoder() -> HashEmbedCNN:
    return HashEmbedCNN(rows=[25, 25], width=8, depth=3).eval()


def test_encoder_on_a_gpu_equals_that_on_the_cpu():
    assert_same_on_gpu(make_encoder(), make_tokens())


def test_lstm_on_a_gpu_equals_that_on_the_cpu():
    # In training mode, without which cuDNN has no gradient; nothing is dropped at a rate of 0.
    encoder = BiLSTM(rows=[25, 25], width=8, depth=2, embed_width=8).train()
    assert_same_on_gpu(encoder, make_tokens())


@pytest.mark.parametrize("window", [5, 256])
def test_transformer_on_a_gpu_equals_that_on_the_cpu(window):
    encoder = TransformerEncoder(
        rows=[25, 25], width=8, depth=2, n_heads=2, feed_forward_width=16, window=window
    )
    assert_same_on_gpu(encoder.eval(), make_tokens())


def test_characters_on_a_gpu_equal_those_on_the_cpu():
    characters = CharacterCNN(rows=9, character_width=4, width=5)
    encoder = HashEmbedCNN(rows=[25, 25], width=8, depth=2, characters=characters)
    spelled = CharacterBatch(torch.randint(1, 10, (12,)), torch.tensor([4, 0, 1, 2, 3, 2]))
    assert_same_on_gpu(encoder.eval(), make_tokens()._replace(characters=spelled))


def test_prediction_on_a_gpu_remembers_nothing_and_is_the_same():
    encoder, batch = make_encoder(), make_tokens()
    with torch.no_grad():
        expected = encoder(batch).values
        encoder.train().eval().cuda()
        actual = encoder(to_gpu(batch)).values
    assert len(encoder.cache) == 0
    torch.testing.assert_close(actual.cpu(), expected, atol=1e-4, rtol=1e-4)


def test_bfloat16_autocast_on_a_gpu_stays_close():
    encoder, batch = make_encoder(), make_tokens()
    expected = encoder(batch).values
    encoder.cuda()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        actual = encoder(to_gpu(batch)).values
    actual.float().sum().backward()
    torch.testing.assert_close(actual.float().cpu(), expected, atol=0.1, rtol=0.1)
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())
