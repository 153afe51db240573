"""Sessions about boxes with a simulated annotator: what is answered, measured and shown."""

import json

import pytest
import spacy
import tiny_boxes
from fixed_detector import CELL
from images import draw_patterns
from spacy.util import registry

from spacy_torch.annotation.active import Settings
from spacy_torch.annotation.box_questions import Place, read_places, to_span
from spacy_torch.annotation.box_subject import CORRECTABLE, BoxSubject, count_drawn
from spacy_torch.annotation.contestants import list_contestants
from spacy_torch.annotation.gold import Gold, read_gold, split_gold
from spacy_torch.annotation.oracle import Noise, Oracle
from spacy_torch.annotation.report import make_report
from spacy_torch.annotation.simulation import Protocol, find_kind, simulate
from spacy_torch.annotation.subjects import find_subject
from spacy_torch.annotation.tasks import set_hashes
from spacy_torch.features.boxes import Box
from spacy_torch.features.picture import Picture

A, B = Place("A", 0, 0, 10, 10), Place("B", 20, 20, 10, 10)
GOLD = Gold(set_hashes({"image": "one.png"}), frozenset([A, B]))


def ask(oracle, place=None, **more):
    spans = [] if place is None else [to_span(Box(*place))]
    label = more.pop("label", place.label if place else None)
    return oracle.answer(set_hashes({**GOLD.task, "spans": spans, "label": label, **more}))


def test_a_box_is_accepted_where_it_shares_half_of_the_union_with_an_object_of_its_label():
    oracle = Oracle([GOLD], subject=BoxSubject())
    asked = {
        A: "accept",
        Place("A", 3, 0, 10, 10): "accept",  # 70 / 130
        Place("A", 4, 0, 10, 10): "reject",  # 60 / 140
        Place("B", 0, 0, 10, 10): "reject",
        Place("C", 0, 0, 10, 10): "reject",
    }
    for place, expected in asked.items():
        answered = ask(oracle, place)
        assert answered["answer"] == expected
        assert read_places(answered) == [place]
        assert count_drawn(answered, GOLD.true) == (place == A)


def test_a_box_beside_an_object_is_put_right_where_that_is_asked_for():
    oracle = Oracle([GOLD], subject=BoxSubject())
    away = Place("A", 60, 0, 10, 10)
    # 40 / 160 of an object, 80 / 120, and one of another label.
    for wrong, right in ((6, A), (2, A), (None, B)):
        place = Place("A", 20, 20, 10, 10) if wrong is None else Place("A", wrong, 0, 10, 10)
        answered = ask(oracle, place, **{CORRECTABLE: True})
        assert (answered["answer"], read_places(answered)) == ("accept", [right])
        assert answered["label"] == right.label
        assert count_drawn(answered, GOLD.true) == 1
    assert ask(oracle, away, **{CORRECTABLE: True})["answer"] == "reject"
    near = ask(oracle, Place("A", 1, 0, 10, 10), **{CORRECTABLE: True})
    assert (near["answer"], count_drawn(near, GOLD.true)) == ("accept", 0)


def test_one_object_is_drawn_or_all_of_them():
    oracle = Oracle([GOLD], subject=BoxSubject())
    assert read_places(ask(oracle, label="B")) == [B]
    assert ask(oracle, label="C")["answer"] == "ignore"
    whole = ask(oracle, _view_id="image_manual")
    assert set(read_places(whole)) == {A, B}
    assert count_drawn(whole, GOLD.true) == 2
    assert count_drawn({**whole, "answer": "reject"}, GOLD.true) == 0
    two = {**GOLD.task, "spans": [to_span(Box(*A)), to_span(Box(*B))], "_task_hash": 1}
    with pytest.raises(ValueError, match="the question about 'one.png' is not about one box"):
        oracle.answer(two)


def test_mistakes_are_wrong_answers_and_overlooked_boxes():
    oracle = Oracle([GOLD], noise=Noise(flipped=1.0), subject=BoxSubject())
    assert ask(oracle, A)["answer"] == "reject"
    assert ask(oracle, Place("A", 60, 0, 10, 10))["answer"] == "accept"
    assert len(read_places(ask(oracle, _view_id="image_manual"))) == 1


def test_an_answered_question_is_shown_in_words():
    subject = BoxSubject()
    task = {**GOLD.task, "spans": [to_span(Box(*A))], "label": "A", "answer": "accept"}
    truth = "A 10 x 10 at 0, 0, B 10 x 10 at 20, 20"
    assert subject.show(task, GOLD.true) == ("A?", "A 10 x 10 at 0, 0", truth, True)
    beside = {**task, "spans": [to_span(Box("A", 1, 0, 10, 10))], "answer": "reject"}
    assert subject.show(beside, GOLD.true) == ("A 10 x 10 at 1, 0?", "reject", truth, False)
    whole = {**task, "_view_id": "image_manual"}
    assert subject.show(whole, GOLD.true) == ("which boxes?", "A 10 x 10 at 0, 0", truth, False)


def test_the_measure_is_the_average_precision():
    found = [[[Box(*A, 0.85), Box(*B, 0.35)]], [[Box("A", 60, 60, 9, 9, 0.25)]]]
    score, error = BoxSubject().measure(
        found, [GOLD.true, frozenset()], labels=["A", "B"], exclusive=False
    )
    assert score == 1.0  # the wrong one comes last
    assert error == pytest.approx((0.15 + 0.65 + 0.25) / 3)
    assert BoxSubject().chance([], labels=[], exclusive=False) == 0.0


@pytest.fixture(scope="module")
def golds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    lines = []
    for seed in range(24):
        places = tiny_boxes.draw_places(seed)
        path = str(folder / f"{seed}.png")
        Picture.from_source(draw_patterns(*places, seed=seed)).open().save(path)
        boxes = [Box(label, x, y, tiny_boxes.SIDE, tiny_boxes.SIDE) for label, x, y in places]
        lines.append({"image": path, "spans": [to_span(box) for box in boxes]})
    # What is known of one box says nothing of the others.
    lines.append({**lines[0], "image": "partial.png", "_view_id": "image", "label": "across"})
    lines.append({"image": "without.png"})
    (folder / "gold.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return read_gold(folder / "gold.jsonl", subject="boxes")


@pytest.mark.parametrize("kind", ["binary", "correct", "manual"])
def test_a_session_about_boxes_learns_and_is_reported(golds, kind):
    assert len(golds) == 24
    data = split_gold(golds, subject="boxes")
    assert (data.labels, find_kind(data)) == (["across", "down"], "binary")
    nlp = tiny_boxes.make_nlp(**tiny_boxes.FAST)
    assert find_subject(nlp).name == "boxes"
    settings = Settings(batch=6, epochs=0, epsilon=0.0)
    contestants = list_contestants(
        nlp.config,
        strategy=registry.torch_query_strategies.get("spacy-torch.LabelsInTurn.v1")(),
        strategy_name="LabelsInTurn",
        settings=settings,
        baselines=["random"] if kind == "binary" else [],
    )
    protocol = Protocol(answers=14, seeds=1, kind=kind, settings=settings)
    found = simulate(data, contestants, protocol, ceiling=kind == "binary")
    for run in found.runs:
        drawn = [task for task in run.answered if not task["meta"]["score"]]
        assert run.checkpoints[-1].score > 0.5
        if kind != "manual":
            assert {task["label"] for task in run.answered[:2]} == {"across", "down"}
            assert len(drawn) >= 2
            assert run.checkpoints[0].n_answers == 2
    page = make_report(found)
    assert "AP50 of boxes" in page


def test_boxes_are_not_read_from_documents(tmp_path):
    from spacy.tokens import DocBin

    DocBin(docs=[spacy.blank("en").make_doc("a text")]).to_disk(tmp_path / "gold.spacy")
    with pytest.raises(ValueError, match='has boxes: give JSONL with an "image" and all'):
        read_gold(tmp_path / "gold.spacy", subject="boxes")


def test_questions_are_about_a_few_boxes_of_each_label(tmp_path):
    from spacy_torch.annotation.kinds import find_questions

    nlp = spacy.blank("image")
    nlp.add_pipe("fixed_detector", name="detector")
    component = nlp.get_pipe("detector")
    component.boxes = [CELL._replace(x=10 * n, score=0.9 - n / 50) for n in range(12)]
    component.boxes.append(Box("DUST", 0, 0, 5, 5, 0.1))
    questions = find_questions(nlp, "detector", "binary")
    path = tmp_path / "one.png"
    Picture.from_source(draw_patterns(seed=0)).open().save(path)
    tasks = [set_hashes({"image": str(path)})]
    asked = questions.ask(tasks, [questions.make_doc(task) for task in tasks], None)
    assert [question.task["label"] for question in asked] == ["CELL"] * 8 + ["DUST"]
