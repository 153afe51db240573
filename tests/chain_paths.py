"""All paths of a chain, one after the other: what the fast ways are held against."""

from itertools import product

import torch
from hypothesis import strategies as st
from torch import Tensor

from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.structured.biluo import count_tags
from spacy_torch.nn.structured.chain import TagScores, Transitions

Path = tuple[int, ...]


def path_score(rows: Tensor, transitions: Transitions, path: Path) -> Tensor:
    between, start, end = transitions
    score = rows.new_zeros(())
    for place, tag in enumerate(path):
        score = score + rows[place, tag]
        score = score + (between[path[place - 1], tag] if place else start[tag])
    return score + end[path[-1]] if path else score


def all_paths(length: int, n_tags: int) -> list[Path]:
    return list(product(range(n_tags), repeat=length))


def is_legal(path: Path) -> bool:
    """Whether BILUO tags make up whole entities, read from left to right."""
    open_label = None
    for tag in path:
        label, part = divmod(tag - 1, 4)
        goes_on = tag and part in (1, 2)
        if goes_on != (open_label is not None) or (goes_on and label != open_label):
            return False
        open_label = label if tag and part in (0, 1) else None
    return open_label is None


def entities_of(path: Path) -> set[tuple[int, int, int]]:
    """Start, end and label of the entities of a legal path."""
    found, begun = set(), 0
    for place, tag in enumerate(path):
        label, part = divmod(tag - 1, 4)
        if tag and part in (0, 3):
            begun = place
        if tag and part in (2, 3):
            found.add((begun, place + 1, label))
    return found


@st.composite
def chains(
    draw: st.DrawFn, *, max_length: int, n_tags: st.SearchStrategy[int], max_batch: int = 4
) -> TagScores:
    """A batch of random scores, as doubles."""
    lengths = draw(st.lists(st.integers(0, max_length), max_size=max_batch))
    tags = draw(n_tags)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    size = draw(st.sampled_from([0.1, 1.0, 5.0]))

    def random(*shape: int) -> Tensor:
        return size * torch.randn(*shape, generator=generator, dtype=torch.float64)

    return TagScores(
        Ragged(random(sum(lengths), tags), torch.tensor(lengths, dtype=torch.int64)),
        Transitions(random(tags, tags), random(tags), random(tags)),
    )


def entity_chains(*, max_length: int = 4, max_labels: int = 2) -> st.SearchStrategy[TagScores]:
    """The same for the tags of entities."""
    n_tags = st.integers(1, max_labels).map(count_tags)
    return chains(max_length=max_length, n_tags=n_tags, max_batch=3)
