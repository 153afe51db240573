"""spaCy's entity attributes as the BILUO tags of a chain, for all tokens of a batch at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy
from numpy.typing import NDArray
from spacy.attrs import ENT_IOB, ENT_TYPE, IS_SPACE, SENT_START
from spacy.tokens import Doc

from spacy_torch.components.gold_tokens import UNKNOWN, Columns, Ids
from spacy_torch.features.token_ids import first_rows, token_ids
from spacy_torch.nn.structured.biluo import BEGIN, INSIDE, LAST, N_PARTS, OUTSIDE, UNIT, count_tags

MISSING_IOB, INSIDE_IOB, OUTSIDE_IOB, BEGIN_IOB = range(4)

Mask = NDArray[numpy.bool_]


class EncodedEntities(NamedTuple):
    """Entities as tags.

    Attributes:
        tags: the tag of each token, or `UNKNOWN`.
        is_entity: which tokens are part of an entity, of any label.
        strange: the ids of the labels that are not among those asked for, one per entity.
    """

    tags: Columns
    is_entity: Mask
    strange: Ids


def encode_entities(
    iobs: Ids, types: Ids, *, firsts: Columns, labels: Mapping[int, int]
) -> EncodedEntities:
    """The tags of tokens with these values of `ENT_IOB` and `ENT_TYPE`.

    A token without annotation is unknown, and so is one of an entity whose label is not among
    `labels`. A token that is blocked, never to be an entity, is outside.

    Args:
        firsts: the rows of the first tokens of documents.
        labels: the number of each label, by its id.
    """
    is_blocked = (iobs == BEGIN_IOB) & (types == 0)
    is_entity = ((iobs == BEGIN_IOB) | (iobs == INSIDE_IOB)) & (types != 0)
    goes_on = is_entity & (iobs == INSIDE_IOB)
    goes_on[firsts] = False
    goes_on[1:] &= is_entity[:-1] & (types[1:] == types[:-1])
    is_followed = numpy.append(goes_on[1:], False)[: len(goes_on)]
    parts = numpy.where(
        goes_on,
        numpy.where(is_followed, INSIDE, LAST),
        numpy.where(is_followed, BEGIN, UNIT),
    )
    distinct, inverse = numpy.unique(types, return_inverse=True)
    known = [labels.get(int(label), UNKNOWN) for label in distinct]
    numbers = numpy.asarray(known, dtype=numpy.int64)[inverse.reshape(-1)]
    tags = numpy.full(len(iobs), UNKNOWN, dtype=numpy.int64)
    tags[(iobs == OUTSIDE_IOB) | is_blocked] = OUTSIDE
    is_known = is_entity & (numbers != UNKNOWN)
    tags[is_known] = 1 + N_PARTS * numbers[is_known] + parts[is_known]
    return EncodedEntities(tags, is_entity, types[is_entity & ~is_known & ~goes_on])


def find_allowed(docs: Sequence[Doc], labels: Mapping[int, int]) -> Mask | None:
    """The tags that each token may get, shape (token, tag); None where nothing restricts them.

    Entities that are there already stay whole, blocked tokens stay outside, no entity crosses
    the start of a sentence, and none begins or ends with white space. Tokens that are
    annotated as outside are free. An entity that is there may do what others may not.
    """
    values = token_ids(docs, [ENT_IOB, ENT_TYPE, IS_SPACE, SENT_START])
    iobs, types, is_space = values[:, 0], values[:, 1], values[:, 2] == 1
    firsts = first_rows(docs)
    is_start = values[:, 3] == 1
    is_start[firsts] = False  # which have none before them to go on from
    is_set = (iobs == BEGIN_IOB) | (iobs == INSIDE_IOB)
    restricted = is_set | is_space | is_start
    if not restricted.any():
        return None
    n_tags = count_tags(len(labels))
    part = (numpy.arange(n_tags) - 1) % N_PARTS
    part[OUTSIDE] = N_PARTS
    allowed = numpy.ones((len(values), n_tags), dtype=bool)
    allowed[is_space] &= (part == INSIDE) | (part == N_PARTS)
    allowed[is_start] &= (part != INSIDE) & (part != LAST)
    if is_set.any():
        encoded = encode_entities(iobs, types, firsts=firsts, labels=labels)
        # What no tag says, an entity of a strange label, lets others stay away from it.
        tags = numpy.where(encoded.tags == UNKNOWN, OUTSIDE, encoded.tags)
        allowed[is_set] = tags[is_set, None] == numpy.arange(n_tags)
    return allowed
