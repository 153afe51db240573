"""What a simulated annotator knows, where it is read from, and what it answers."""

import json
import logging

import pytest
import spacy
from spacy.tokens import DocBin
from tiny_gold import GOLD

from spacy_torch.annotation.gold import Gold, read_gold, split_gold
from spacy_torch.annotation.oracle import Noise, Oracle
from spacy_torch.annotation.tasks import set_hashes


def test_labels_are_read_from_lines_in_each_form(tmp_path, caplog):
    path = tmp_path / "gold.jsonl"
    lines = [
        {"text": "a", "label": "A"},
        {"text": "b", "label": ["A", "B"], "meta": {"n": 1}},
        {"text": "c", "cats": {"A": 0.0, "B": 1.0}},
        {"text": "d", "options": [], "accept": ["B"], "answer": "accept"},
        {"text": "e", "label": "A", "answer": "reject"},
        {"text": "f"},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    found = read_gold(path)
    assert [(gold.task["text"], set(gold.true)) for gold in found] == [
        ("a", {"A"}), ("b", {"A", "B"}), ("c", {"B"}), ("d", {"B"}),
    ]  # fmt: skip
    assert found[1] == Gold.of("b", ["A", "B"])
    assert "2 records have no labels and are left out" in caplog.text


def test_labels_are_read_from_docs(tmp_path, caplog):
    nlp = spacy.blank("en")
    docs = [nlp.make_doc("a b"), nlp.make_doc("c"), nlp.make_doc("d")]
    docs[0].cats = {"A": 1.0, "B": 0.0}
    docs[1].cats = {"A": 0.0, "B": 0.0}
    DocBin(docs=docs).to_disk(tmp_path / "gold.spacy")
    with caplog.at_level(logging.WARNING):
        assert read_gold(tmp_path / "gold.spacy") == [Gold.of("a b", ["A"]), Gold.of("c", [])]
    assert "1 records have no labels" in caplog.text


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("none.spacy", FileNotFoundError, "there is no file"),
        ("none.jsonl", FileNotFoundError, "there is no file"),
        ("empty.jsonl", ValueError, "none of its 1 records has labels"),
    ],
)
def test_files_without_labels_are_an_error(tmp_path, name, error, message):
    (tmp_path / "empty.jsonl").write_text('{"text": "a"}')
    with pytest.raises(error, match=message):
        read_gold(tmp_path / name)


def test_pool_and_test_share_no_text():
    data = split_gold([*GOLD, *GOLD], share=0.25)
    assert (len(data.pool), len(data.test)) == (36, 12)
    assert not {gold.key for gold in data.pool} & {gold.key for gold in data.test}
    assert (list(data.labels), data.exclusive) == (["NEG", "POS"], True)
    given = split_gold(GOLD, GOLD[:5])
    assert (list(given.test), len(given.pool)) == (GOLD[:5], 43)


def test_labels_are_exclusive_if_each_text_has_one():
    assert not split_gold([Gold.of("a", ["A"]), Gold.of("b", ["A"])], share=0.5).exclusive
    assert not split_gold([Gold.of("a", ["A"]), Gold.of("b", ["A", "B"])], share=0.5).exclusive
    rare = split_gold([*GOLD, Gold.of("c", ["ODD"])], GOLD[:5])
    assert (rare.rarest, rare.count("ODD")) == ("ODD", 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: split_gold(GOLD, share=1.5), "must be between 0 and 1, got 1.5"),
        (lambda: split_gold(GOLD, GOLD), "needs a pool and a test, got 0 and 48"),
        (lambda: split_gold(GOLD[:1], share=0.1), "got 1 and 0"),
        (lambda: type(split_gold(GOLD))(GOLD, GOLD[:2], ["A"], True), "2 inputs are in the pool"),
        (lambda: type(split_gold(GOLD))(GOLD[2:], GOLD[:2], ["A"], True), "at least 2, got .'A'"),
        (lambda: Noise(0.7, 0.5), "together at most 1, got 0.7 and 0.5"),
    ],
)
def test_what_cannot_be_simulated_is_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def ask_yes_no(gold, label):
    return set_hashes({"text": gold.task["text"], "label": label})


def ask_choice(gold):
    options = [{"id": label, "text": label} for label in ("NEG", "POS", "ODD")]
    return set_hashes({"text": gold.task["text"], "options": options})


def test_the_question_asked_is_answered():
    oracle = Oracle(GOLD)
    good, bad = GOLD[0], GOLD[-1]
    answers = [oracle.answer(ask_yes_no(gold, "POS")) for gold in (good, bad)]
    assert [task["answer"] for task in answers] == ["accept", "reject"]
    answer = oracle.answer(ask_choice(bad))
    assert (answer["accept"], answer["answer"]) == (["NEG"], "accept")
    both = Gold.of("x", ["NEG", "ODD"])
    assert Oracle([both]).answer(ask_choice(both))["accept"] == ["NEG", "ODD"]


@pytest.mark.parametrize("ask", [ask_choice, lambda gold: ask_yes_no(gold, "POS")])
def test_mistakes_are_as_many_as_wanted_and_always_the_same(ask):
    golds = [Gold.of(f"text {number}", ["POS"]) for number in range(1000)]
    oracle = Oracle(golds, noise=Noise(flipped=0.2, ignored=0.1), seed=3)
    answers = [oracle.answer(ask(gold)) for gold in golds]
    ignored = sum(task["answer"] == "ignore" for task in answers)
    wrong = sum(
        task["answer"] == "reject" or task.get("accept", ["POS"]) != ["POS"] for task in answers
    )
    # Binomial: three standard deviations are 38 and 28.
    assert abs(wrong - 200) < 40
    assert abs(ignored - 100) < 30
    assert [oracle.answer(ask(gold)) for gold in golds[::-1]] == answers[::-1]
    assert Oracle(golds, noise=Noise(0.2, 0.1), seed=4).answer(ask(golds[0])) is not None


def test_of_several_labels_one_is_turned_by_mistake():
    both = Gold.of("x", ["NEG", "ODD"])
    answer = Oracle([both], noise=Noise(flipped=1.0)).answer(ask_choice(both))
    assert len(set(answer["accept"]) ^ {"NEG", "ODD"}) == 1


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (ask_yes_no(Gold.of("unknown", []), "POS"), "knows nothing of 'unknown'"),
        (GOLD[0].task, "has neither a label nor options"),
    ],
)
def test_a_question_about_nothing_is_an_error(task, message):
    with pytest.raises(ValueError, match=message):
        Oracle(GOLD).answer(task)
