"""The parser's module, against the paper's formulas."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spacy_torch.nn.biaffine_parser import BiaffineParser
from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.structured.arcs import batch_sentences, kinds_of_distance


class Constant(nn.Module):
    """Give the same vectors whatever is read."""

    def __init__(self, values: torch.Tensor) -> None:
        super().__init__()
        self.values = values

    def forward(self, batch: object) -> Ragged:
        return Ragged(self.values, torch.tensor([len(self.values)]))


def make_parser(vectors: torch.Tensor, **settings: int) -> BiaffineParser:
    sizes = {"arc_width": 3, "label_width": 2, "n_labels": 4, **settings}
    return BiaffineParser(Constant(vectors), width=vectors.shape[1], **sizes)


def test_arcs_are_scored_by_a_product_a_bias_for_the_head_and_the_distance():
    parser = make_parser(torch.randn(4, 5))
    for layer in (parser.dependent_distance, parser.head_distance):
        nn.init.normal_(layer.weight)
    nn.init.normal_(parser.dependent_distance.bias)
    kinds = kinds_of_distance(4)
    vectors = parser.encoder.values
    (batch,) = batch_sentences(torch.arange(4), [4])
    scores = parser(None).score_arcs(batch)[0]
    project = parser.project
    of_dependents = F.leaky_relu(F.linear(vectors, project.weight[:3], project.bias[:3]), 0.1)
    of_heads = F.leaky_relu(F.linear(vectors, project.weight[3:6], project.bias[3:6]), 0.1)
    for dependent in range(4):
        d = of_dependents[dependent]
        for head in range(4):
            h = of_heads[head]
            expected = h @ parser.arc.weight @ d + parser.arc.bias @ h
            kind = kinds[dependent, head]
            expected = expected + parser.dependent_distance(d)[kind]
            expected = expected + parser.head_distance(h)[kind]
            if head == dependent:
                expected = parser.root.weight[0] @ d + parser.root.bias[0]
            torch.testing.assert_close(scores[dependent, head], expected)


def test_untrained_parser_prefers_no_distance():
    factors = make_parser(torch.randn(3, 5))(None)
    assert not factors.dependent_distances.any()
    assert not factors.head_distances.any()


def test_untrained_parser_prefers_no_label():
    factors = make_parser(torch.randn(3, 5))(None)
    rows = torch.tensor([0, 1, 2])
    assert not factors.score_labels(rows, torch.tensor([1, 1, 0])).any()


def test_every_weight_learns():
    parser = make_parser(torch.randn(4, 5))
    nn.init.normal_(parser.label_weights)
    factors = parser(None)
    (batch,) = batch_sentences(torch.arange(4), [4])
    labels = factors.score_labels(torch.tensor([0, 1]), torch.tensor([1, 1]))
    (factors.score_arcs(batch).sum() + labels.sum() + factors.starts.sum()).backward()
    assert [name for name, each in parser.named_parameters() if not each.grad.any()] == []


def test_vectors_of_another_size_are_refused():
    parser = make_parser(torch.randn(4, 5))
    parser.width = 6
    with pytest.raises(ValueError, match=r"BiaffineParser: the encoder must return .* \(4, 5\)"):
        parser(None)
