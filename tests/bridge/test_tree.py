"""Nested arguments and outputs keep their structure."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from thinc.types import ArgsKwargs

from spacy_torch.bridge.tree import leaves, map_leaves, pair_leaves


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclass(frozen=True)
class Frozen:
    left: Any
    right: Any = field(init=False, default=2)


@dataclass
class NamedOutput(OrderedDict):
    """A dataclass that is a mapping too, as the outputs of the transformers library are."""

    left: Any = None
    right: Any = None

    def __post_init__(self):
        super().__init__(left=self.left, right=self.right)


def double(leaf: Any) -> Any:
    return leaf * 2


@pytest.mark.parametrize(
    ("tree", "doubled"),
    [
        (1, 2),
        ((1, [2, (3,)]), (2, [4, (6,)])),
        (Pair(1, {"a": 2}), Pair(2, {"a": 4})),
        ({"b": 1, "a": Frozen(1)}, {"b": 2, "a": 4}),
        (NamedOutput(1, 2), {"left": 2, "right": 4}),
        (ArgsKwargs((1, [2]), {"x": 3}), ArgsKwargs((2, [4]), {"x": 6})),
        ([], []),
    ],
)
def test_every_leaf_is_mapped_and_containers_stay(tree, doubled):
    mapped = map_leaves(double, tree)
    if isinstance(tree, dict) and isinstance(tree.get("a"), Frozen):
        assert mapped["b"] == 2
        mapped = mapped["a"]
        assert (mapped.left, mapped.right) == (2, 4)
        return
    assert type(mapped) is type(doubled)
    assert mapped == doubled or vars(mapped) == vars(doubled)


def test_leaves_come_in_the_order_of_the_containers():
    tree = ArgsKwargs((1, Pair(2, [3])), {"x": {"b": 4, "a": 5}, "y": Frozen(6)})
    assert list(leaves(tree)) == [1, 2, 3, 4, 5, 6, 2]


def test_leaves_are_paired_by_key_and_not_by_order():
    assert list(pair_leaves({"a": 1, "b": 2}, {"b": 20, "a": 10})) == [(1, 10), (2, 20)]


def test_none_stands_for_a_whole_part_without_gradient():
    assert list(pair_leaves((1, (2, 3)), (10, None))) == [(1, 10), (2, None), (3, None)]
    assert list(pair_leaves({"a": 1, "b": 2}, {"b": 20})) == [(1, None), (2, 20)]
    assert list(pair_leaves(Pair(1, 2), (10, None))) == [(1, 10), (2, None)]


@pytest.mark.parametrize(
    ("tree", "other", "message"),
    [
        ((1, 2), (10,), r"structure of the output, a tuple with \[0, 1\], but it is a tuple"),
        ({"a": 1}, {"b": 1}, r"a dict with \['a'\], but it is a dict with \['b'\]"),
        (1, (10,), r"an? int, but it is a tuple with \[0\]"),
        ((1,), 10, r"a tuple with \[0\], but it is an? int"),
    ],
)
def test_gradient_of_another_structure_is_refused(tree, other, message):
    with pytest.raises(ValueError, match=message):
        list(pair_leaves(tree, other))
