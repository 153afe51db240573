import json
from collections import OrderedDict, namedtuple

import pytest
import torch

from spacy_torch.bridge.tree import leaves
from spacy_torch.bridge.tree_template import NamedValues, fill_template, write_template
from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.structured.arcs import ArcFactors
from spacy_torch.nn.structured.chain import TagScores, Transitions

RAGGED = Ragged(torch.ones(3, 2), torch.tensor([1, 2]))


@pytest.mark.parametrize(
    "tree",
    [
        torch.ones(2),
        (torch.ones(1), [torch.ones(2), None, True, 1, 0.5, "text"], {}),
        {"a": torch.ones(1), "b": {"c": (torch.ones(2),)}},
        RAGGED,
        TagScores(RAGGED, Transitions(*(torch.ones(i) for i in range(3)))),
        ArcFactors(*(torch.ones(i) for i in range(10))),
    ],
    ids=["tensor", "sequences", "dicts", "tuple", "tuples", "dataclass"],
)
def test_structure_comes_back_from_json(tree):
    template = json.loads(json.dumps(write_template(tree), sort_keys=True))
    tensors = [leaf for leaf in leaves(tree) if isinstance(leaf, torch.Tensor)]
    found = fill_template(template, tensors)
    assert type(found) is type(tree)
    pairs = zip(leaves(found), leaves(tree), strict=True)
    assert all(left is right or left == right for left, right in pairs)


def test_outputs_with_names_have_attributes_again():
    template = write_template(OrderedDict(state=torch.ones(1)))
    found = fill_template(template, [torch.zeros(1)])
    assert isinstance(found, NamedValues)
    assert found.state is found["state"]
    with pytest.raises(AttributeError, match=r"there is no output 'pooled', only \['state'\]"):
        found.pooled  # noqa: B018


def test_types_of_others_are_not_stored():
    with pytest.raises(TypeError, match="an output of type Pair cannot be stored"):
        write_template(namedtuple("Pair", "a b")(1, 2))
    with pytest.raises(TypeError, match="an output of type complex cannot be stored"):
        write_template([1j])


@pytest.mark.parametrize(
    "template",
    [
        {"tensor": 2},
        {"unknown": 1},
        {"record": ["os:system", {}]},
        {"record": ["spacy_torch.nn.ragged:Ragged.mean", {}]},
        {"record": ["spacy_torch.nn.ragged:HashEmbedCNN", {}]},
        {"record": ["spacy_torch.nn.nowhere:Ragged", {}]},
        {"record": ["spacy_torch.nn.hash_embed_cnn:HashEmbedCNN", {}]},
        {"record": ["spacy_torch.nn.ragged:Ragged", {"values": {"tensor": 0}}]},
        {"list": [], "tuple": []},
        {},
        [],
    ],
)
def test_damaged_templates_are_refused(template):
    with pytest.raises(ValueError, match="a damaged template of outputs, "):
        fill_template(template, [torch.ones(1)])
