"""Of answers that contradict each other the later one counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_torch.annotation.verdicts import merge_verdicts


def task(answer, *marks, whole=False):
    return {"answer": answer, "marks": list(marks), "_view_id": "ner_manual" if whole else "ner"}


def merge(*tasks):
    """Marks are letters; a capital cannot be there beside its small letter."""
    found = merge_verdicts(
        tasks, lambda one: one["marks"], clash=lambda a, b: a.lower() == b.lower()
    )
    return found and ("".join(found.accepted), "".join(found.rejected), found.complete)


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([], None),
        ([task("ignore", "a")], None),
        ([task("accept", "a"), task("reject", "b")], ("a", "b", False)),
        ([task("accept", "a"), task("reject", "a")], ("", "a", False)),
        ([task("reject", "a"), task("accept", "a")], ("a", "", False)),
        ([task("accept", "a"), task("accept", "A")], ("A", "", False)),
        ([task("accept", "a"), task("reject", "A")], ("a", "A", False)),
        ([task("accept", "a", "b")], ("ab", "", False)),
        ([task("reject", "a", "b")], None),  # which of them?
        ([task("reject", "a", "a")], ("", "a", False)),
        ([task("accept")], None),
        ([task("accept", whole=True)], ("", "", True)),
        ([task("reject", "a", whole=True)], None),
        ([task("ignore", "a", whole=True)], None),
        ([task("accept", "a"), task("reject", "c"), task("accept", "b", whole=True)],
         ("b", "", True)),
        ([task("accept", "a", "b", whole=True), task("reject", "b")], ("a", "b", True)),
        ([task("accept", "a", whole=True), task("accept", "c")], ("ac", "", True)),
    ],
)  # fmt: skip
def test_answers_are_put_together_in_their_order(tasks, expected):
    assert merge(*tasks) == expected


answers = st.builds(
    lambda answer, marks, whole: task(answer, *marks, whole=whole),
    st.sampled_from(["accept", "reject", "ignore"]),
    st.lists(st.sampled_from("aAbBc"), max_size=2),
    st.booleans(),
)


@given(st.lists(answers, max_size=8))
def test_no_mark_is_both_there_and_not_and_none_clash(tasks):
    found = merge(*tasks)
    if found is not None:
        accepted, rejected, _ = found
        assert not set(accepted) & set(rejected)
        assert len(set(accepted.lower())) == len(accepted)
        assert len(set(rejected)) == len(rejected)
