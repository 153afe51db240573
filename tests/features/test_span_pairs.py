"""Which pairs of spans are candidates."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc, Span
from spacy.util import registry
from spacy.vocab import Vocab

from spacy_torch.features.span_pairs import PairFeatures, build_entity_pairs

N_TOKENS = 12
VOCAB = Vocab()


def make_doc(*ents: tuple[int, int, str], sentences: tuple[int, ...] = ()) -> Doc:
    starts = [index in sentences for index in range(N_TOKENS)] if sentences else None
    doc = Doc(VOCAB, ["x"] * N_TOKENS, sent_starts=starts)
    doc.ents = [Span(doc, *ent) for ent in ents]
    return doc


def places(pairs: list[tuple[Span, Span]]) -> list[tuple[int, int]]:
    return [(head.start, tail.start) for head, tail in pairs]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), max_size=6),
    st.none() | st.integers(0, 10),
    st.booleans(),
)
def test_pairs_are_those_of_a_double_loop(found, max_distance, directed):
    doc = make_doc()
    doc.spans["sc"] = [Span(doc, start, start + n) for start, n in sorted(found)]
    spans = list(enumerate(doc.spans["sc"]))
    expected = [
        (head, tail)
        for (i, head), (j, tail) in product(spans, spans)
        if (i < j if not directed else i != j)
        and (
            max_distance is None
            or max(head.start - tail.end, tail.start - head.end) <= max_distance
        )
    ]
    find = build_entity_pairs(spans_key="sc", max_distance=max_distance, directed=directed)
    assert find(doc) == expected


def test_labels_may_be_limited():
    doc = make_doc((0, 1, "ORG"), (2, 3, "PERSON"), (4, 5, "ORG"))
    find = build_entity_pairs(label_pairs=[["PERSON", "ORG"]])
    assert places(find(doc)) == [(2, 0), (2, 4)]


def test_pairs_may_be_limited_to_sentences():
    doc = make_doc((0, 1, "A"), (2, 3, "A"), (6, 7, "A"), (8, 9, "A"), sentences=(0, 5))
    assert places(build_entity_pairs(same_sentence=True)(doc)) == [(0, 2), (2, 0), (6, 8), (8, 6)]


def test_sentences_must_be_known_where_pairs_are_limited_to_them():
    doc = make_doc((0, 1, "A"), (2, 3, "A"))
    with pytest.raises(ValueError, match="same_sentence = true needs sentence boundaries"):
        build_entity_pairs(same_sentence=True)(doc)


def test_doc_without_the_group_has_no_pairs():
    assert build_entity_pairs(spans_key="sc")(make_doc((0, 1, "A"), (2, 3, "A"))) == []


def test_pairs_of_a_batch_count_from_the_start_of_their_own_doc():
    features = PairFeatures(featurize=len, candidates=build_entity_pairs(directed=False))
    docs = [make_doc((0, 1, "A"), (2, 4, "A")), make_doc(), make_doc((5, 6, "A"), (8, 9, "A"))]
    batch = features(docs)
    assert batch.tokens == 3
    assert batch.spans.tolist() == [[0, 1, 2, 4], [5, 6, 8, 9]]
    assert batch.lengths.tolist() == [1, 0, 1]
    assert features([]).spans.shape == (0, 4)


def test_config_gives_the_candidates():
    block = {"@misc": "spacy-torch.EntityPairs.v1", "label_pairs": [["A", "B"]]}
    find = registry.resolve({"candidates": block})["candidates"]
    assert places(find(make_doc((0, 1, "A"), (2, 3, "B")))) == [(0, 2)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_distance": -1}, "max_distance must be >= 0, or null for no limit, got -1"),
        ({"label_pairs": [["A"]]}, r"the label of the head and that of the tail, got \['A'\]"),
    ],
)
def test_senseless_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build_entity_pairs(**settings)
