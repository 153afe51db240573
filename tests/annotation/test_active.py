"""A session: asking, answering, correcting, breaking off and going on."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import spacy
from spacy.training import Example
from spacy.util import registry

from spacy_torch.annotation.active import ActiveLearner, Settings
from spacy_torch.annotation.choosing import EXPECTED, RANDOM, draw_answers
from spacy_torch.annotation.journal import Journal
from spacy_torch.annotation.questions import ChoiceQuestions, YesNoQuestions

FAST = {"@architectures": "spacy-torch.FastTextCat.v1", "exclusive_classes": True, "width": 16}
SLOW = {
    "@architectures": "spacy-torch.TextCat.v1",
    "exclusive_classes": True,
    "encoder": {"@torch_encoders": "spacy-torch.HashEmbedCNN.v1", "width": 16, "depth": 1},
}
GOOD, BAD = ("good", "great", "fine", "nice"), ("bad", "awful", "poor", "sad")
TEXTS = [f"{word} {thing}" for word in (*GOOD, *BAD) for thing in ("film", "soup", "day", "hat")]
POOL = [{"text": text} for text in TEXTS]


def gold(text):
    return "POS" if text.split()[0] in GOOD else "NEG"


def make_nlp(model=FAST, factory="torch_textcat"):
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    textcat = nlp.add_pipe(factory, config={"model": model}, name="textcat")
    example = Example.from_dict(nlp.make_doc("good film"), {"cats": {"POS": 1.0, "NEG": 0.0}})
    textcat.initialize(lambda: [example], nlp=nlp, labels=["POS", "NEG"], pool=TEXTS)
    return nlp


def make_learner(
    nlp=None,
    questions=ChoiceQuestions,
    *,
    journal=None,
    pool=POOL,
    strategy="spacy-torch.Margin.v1",
    background=False,
    **settings,
):
    nlp = nlp or make_nlp()
    return ActiveLearner(
        nlp,
        questions(nlp, "textcat"),
        pool,
        strategy=registry.torch_query_strategies.get(strategy)(),
        journal=journal,
        settings=Settings(**{"batch": 4, "epochs": 1, **settings}),
        background=background,
    )


def make_task(text):
    options = [{"id": label, "text": label} for label in ("POS", "NEG")]
    return {"text": text, "options": options}


def reply(task, *, flip=False):
    label = gold(task["text"])
    if flip:
        label = "NEG" if label == "POS" else "POS"
    if "options" in task:
        return {**task, "accept": [label], "answer": "accept"}
    return {**task, "answer": "accept" if task["label"] == label else "reject"}


def scores(learner):
    return [doc.cats for doc in learner.nlp.pipe(TEXTS)]


def accuracy(learner):
    found = [max(cats, key=cats.get) for cats in scores(learner)]
    return sum(label == gold(text) for label, text in zip(found, TEXTS, strict=True)) / len(TEXTS)


@pytest.mark.parametrize("questions", [ChoiceQuestions, YesNoQuestions])
@pytest.mark.parametrize("model", [FAST, SLOW, {**FAST, "slow": SLOW}])
def test_a_session_learns_what_it_is_told_and_ends(questions, model):
    learner = make_learner(make_nlp(model), questions, epochs=8)
    asked = []
    while tasks := learner.ask():
        asked += [task["_task_hash"] for task in tasks]
        learner.receive([reply(task) for task in tasks])
    assert len(asked) == len(set(asked)) >= len(TEXTS)
    assert learner.progress().n_left == 0
    assert accuracy(learner) > 0.9


def test_open_questions_are_asked_until_they_are_answered():
    learner = make_learner()
    tasks = learner.ask()
    assert learner.ask() == tasks
    learner.receive([reply(tasks[0])])
    assert learner.ask() == tasks[1:]


def test_a_score_goes_with_each_question_and_other_keys_stay():
    learner = make_learner(pool=[{**task, "meta": {"source": "web"}} for task in POOL])
    task = learner.ask()[0]
    assert task["meta"] == {"source": "web", "score": 0.5}
    assert [option["id"] for option in task["options"]] == ["POS", "NEG"]


def test_an_answer_taken_back_leaves_no_trace_in_what_is_learned_at_once():
    learner = make_learner()
    tasks = learner.ask()
    learner.receive([reply(task) for task in tasks[:3]])
    before = scores(learner)
    learner.receive([reply(tasks[3], flip=True)])
    assert scores(learner) != before
    assert learner.undo() == tasks[3]
    assert scores(learner) == before
    assert learner.ask() == [tasks[3]]
    learner.receive([reply(tasks[3])])
    other = make_learner()
    other.receive([reply(task) for task in tasks])
    assert scores(learner) == scores(other)


def test_of_two_answers_the_later_one_counts():
    learner, other = make_learner(), make_learner()
    tasks = learner.ask()
    learner.receive([reply(task, flip=True) for task in tasks])
    learner.receive([reply(task) for task in tasks])
    other.receive([reply(task) for task in tasks])
    assert scores(learner) == scores(other)


def test_a_yes_replaces_the_yes_to_another_label_of_the_same_text():
    learner = make_learner(questions=YesNoQuestions)
    wrong, right, no = (
        {"text": "good film", "label": label, "answer": answer}
        for label, answer in (("NEG", "accept"), ("POS", "accept"), ("NEG", "reject"))
    )
    other = make_learner(questions=YesNoQuestions)
    learner.receive([wrong])
    learner.receive([right])
    other.receive([no, right])
    assert learner.nlp("good film").cats["POS"] > 0.5
    other_cats = other.nlp("good film").cats
    assert learner.nlp("good film").cats == pytest.approx(other_cats)


def test_a_yes_given_once_more_counts_more_than_the_yes_between(tmp_path):
    path = tmp_path / "answers.jsonl"
    learner = make_learner(questions=YesNoQuestions, journal=Journal(path))
    right, wrong = (
        {"text": "good film", "label": label, "answer": "accept"} for label in ("POS", "NEG")
    )
    for task in (right, wrong, right):
        learner.receive([task])
    again = make_learner(questions=YesNoQuestions, journal=Journal(path))
    for one in (learner, again):
        (example,) = one.examples
        assert example.reference.cats == {"POS": 1.0}


def test_what_is_ignored_teaches_nothing_and_is_not_asked_again():
    learner = make_learner()
    before = scores(learner)
    tasks = learner.ask()
    learner.receive([{**task, "answer": "ignore"} for task in tasks])
    assert scores(learner) == before
    asked = {task["text"] for _ in range(20) for task in learner.ask()}
    assert not asked & {task["text"] for task in tasks}


@pytest.mark.parametrize("n_answered", [0, 3, 5])
def test_after_a_restart_the_same_questions_are_asked(tmp_path, n_answered):
    path = tmp_path / "answers.jsonl"
    learner = make_learner(journal=Journal(path))
    for _ in range(n_answered):
        learner.receive([reply(learner.ask()[0])])
    tasks = learner.ask()
    again = make_learner(journal=Journal(path))
    assert again.ask() == tasks
    assert scores(again) == scores(learner)


def test_a_saved_pipeline_goes_on_with_its_journal(tmp_path):
    learner = make_learner(journal=Journal(tmp_path / "answers.jsonl"))
    learner.receive([reply(task) for task in learner.ask()])
    learner.nlp.to_disk(tmp_path / "model")
    learner.receive([reply(task) for task in learner.ask()])
    nlp = spacy.load(tmp_path / "model")
    again = make_learner(nlp, journal=Journal(tmp_path / "answers.jsonl"))
    assert scores(again) == scores(learner)


def test_of_several_labels_the_model_must_have_foretold_all_and_no_others():
    nlp = make_nlp({**FAST, "exclusive_classes": False}, "torch_textcat_multilabel")
    questions = ChoiceQuestions(nlp, "textcat")
    task = {"text": "good film"}
    (question,) = questions.ask([task], questions.make_docs([task]), np.random.default_rng(0))
    options = zip(question.task["options"], question.probabilities, strict=True)
    likely = [option["id"] for option, probability in options if probability >= 0.5]
    for accept, is_right in (([], not likely), (likely[::-1], True), ([*likely, "odd"], False)):
        answer = {**question.task, "answer": "accept", "accept": accept}
        assert questions.agrees(answer, question.expected) is is_right
    rejected = {**question.task, "answer": "reject", "accept": likely}
    assert not questions.agrees(rejected, question.expected)


def test_questions_are_those_of_a_random_order_while_the_model_guesses():
    # Neither the words nor the things of three times four texts say anything of the labels.
    labels = [{"P": "POS", "N": "NEG"}[one] for one in "PNNPNPPNPNPN"]
    answers = [*zip(TEXTS[:12], labels, strict=True)]
    asked = {}
    for strategy, window in (("Random", 6), ("Margin", 32), ("HighScore", 32)):
        learner = make_learner(
            strategy=f"spacy-torch.{strategy}.v1", window=window, batch=6, epsilon=0.0
        )
        tasks = {task["text"]: task for task in map(make_task, TEXTS)}
        learner.receive(
            [{**tasks[text], "accept": [label], "answer": "accept"} for text, label in answers]
        )
        assert learner.questions.component.is_guessing()
        asked[strategy] = learner.ask()
    texts = {name: {task["text"] for task in tasks} for name, tasks in asked.items()}
    assert texts["Margin"] == texts["Random"] != texts["HighScore"]
    assert all(task[RANDOM] for task in asked["Margin"])
    assert not any(task[RANDOM] for task in asked["HighScore"])


def test_a_model_that_learns_by_gradient_only_is_not_said_to_guess():
    learner = make_learner(make_nlp(SLOW), epsilon=0.0)
    learner.receive([reply(task) for task in learner.ask()])
    assert learner.questions.component.is_guessing() is False
    assert not any(task[RANDOM] for task in learner.ask())


def test_random_questions_say_how_good_the_model_is():
    learner = make_learner(epsilon=1.0)
    assert learner.progress().accuracy is None
    right = total = 0
    for _ in range(4):
        tasks = learner.ask()
        assert all(task[RANDOM] for task in tasks)
        right += sum(task[EXPECTED] == gold(task["text"]) for task in tasks)
        total += len(tasks)
        learner.receive([reply(task) for task in tasks])
    assert learner.progress().accuracy == right / total
    assert make_learner(epsilon=0.0).ask()[0][RANDOM] is False


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"label": "ODD", "answer": "accept"}, "the label 'ODD', which 'textcat' does not have"),
        ({"label": "POS"}, "must be one of .*, got None in 'good film'"),
        ({"label": "POS", "answer": "maybe"}, "got 'maybe'"),
    ],
)
def test_an_answer_that_cannot_be_used_is_not_written(tmp_path, task, message):
    learner = make_learner(questions=YesNoQuestions, journal=Journal(tmp_path / "answers.jsonl"))
    with pytest.raises(ValueError, match=message):
        learner.receive([{"text": "good film", **task}])
    assert not (tmp_path / "answers.jsonl").exists()


def test_two_exclusive_labels_at_once_are_refused():
    learner = make_learner()
    task = {**learner.ask()[0], "accept": ["POS", "NEG"], "answer": "accept"}
    with pytest.raises(ValueError, match="exclude each other: choose one"):
        learner.receive([task])


def test_a_pool_must_hold_something_and_a_component_labels():
    with pytest.raises(ValueError, match="the pool is empty"):
        make_learner(pool=[])
    nlp = spacy.blank("en")
    nlp.add_pipe("torch_textcat", name="textcat")
    with pytest.raises(ValueError, match="'textcat' has no labels: initialize the pipeline"):
        make_learner(nlp)


def test_rehearsing_in_the_background_does_not_hold_up_answers():
    learner = make_learner(make_nlp(SLOW), background=True, epochs=200)
    tasks = learner.ask()
    learner.receive([reply(task) for task in tasks])
    later = learner.ask()
    learner.receive([reply(task) for task in later])  # breaks the first rehearsal off
    deadline = time.monotonic() + 60
    while accuracy(learner) < 0.6 and time.monotonic() < deadline:
        time.sleep(0.05)
    learner.close()
    assert accuracy(learner) >= 0.6
    assert len(learner.journal) == 8


def test_a_failure_in_the_background_is_told_and_loses_nothing(monkeypatch):
    learner = make_learner(make_nlp(SLOW), background=True)

    def fail(*args, **kwargs):
        raise MemoryError("no room")

    monkeypatch.setattr(learner.nlp, "update", fail)
    learner.receive([reply(task) for task in learner.ask()])
    learner._rehearsal.thread.join(timeout=30)
    with pytest.raises(RuntimeError, match="MemoryError: no room. No answer is lost"):
        learner.ask()
    assert len(learner.journal) == 4


def test_further_questions_are_about_other_texts_until_there_are_none():
    learner = make_learner(questions=YesNoQuestions)
    asked = [task for _ in range(4) for task in learner.more()]
    assert len({task["text"] for task in asked}) == 16
    assert list(learner.journal.pending.values()) == asked == learner.ask()
    while tasks := learner.more():
        asked += tasks
    assert len({(task["text"], task["label"]) for task in asked}) == len(asked) >= len(TEXTS)
    learner.receive([reply(task) for task in asked])
    assert learner.journal.pending == {}


def test_answers_of_another_tool_are_about_the_same_texts(tmp_path):
    path = tmp_path / "answers.jsonl"
    first, second = TEXTS[:2]
    lines = [
        {"text": first, "label": "POS", "answer": "accept", "_input_hash": 7, "_task_hash": 8},
        {"text": second, "label": "POS", "answer": "reject"},  # written by hand
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    learner = make_learner(questions=YesNoQuestions, journal=Journal(path), pool=POOL[:2])
    (task,) = learner.ask()
    assert (task["text"], task["label"]) == (second, "NEG")
    assert learner.progress().n_left == 0
    assert learner.nlp(first).cats["POS"] > 0.5


def test_open_questions_of_another_kind_are_not_asked_again(tmp_path):
    path = tmp_path / "answers.jsonl"
    asked = make_learner(journal=Journal(path)).ask()
    assert {task["_view_id"] for task in asked} == {"choice"}
    tasks = make_learner(questions=YesNoQuestions, journal=Journal(path)).ask()
    assert {task["_view_id"] for task in tasks} == {"classification"}
    assert make_learner(questions=YesNoQuestions, journal=Journal(path)).ask() == tasks


CRASH = """
import spacy
from spacy.training import Example
from spacy_torch.annotation.active import ActiveLearner, Settings
from spacy_torch.annotation.questions import ChoiceQuestions
from spacy_torch.annotation.session import find_strategy

nlp = spacy.blank("en")
textcat = nlp.add_pipe("torch_textcat", name="textcat")
doc = nlp.make_doc("good film")
textcat.initialize(lambda: [Example(doc, doc)], nlp=nlp, labels=["POS", "NEG"])
learner = ActiveLearner(
    nlp, ChoiceQuestions(nlp, "textcat"), [{"text": "good film"}, {"text": "bad film"}],
    strategy=find_strategy("Margin"), settings=Settings(epochs=10_000), background=True,
)
learner.receive([{**learner.ask()[0], "accept": ["POS"], "answer": "accept"}])
raise SystemExit(7)
"""


def test_a_program_that_ends_during_a_rehearsal_ends_in_its_own_way():
    command = [sys.executable, "-c", CRASH]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 7, result.stderr  # and not a signal


@pytest.mark.parametrize("questions", [ChoiceQuestions, YesNoQuestions])
@pytest.mark.parametrize("name", ["Typical", "DiverseMargin", "BADGE", "BALD"])
def test_strategies_that_want_more_than_probabilities_get_it(name, questions):
    nlp = make_nlp({**FAST, "slow": SLOW})
    strategy = registry.torch_query_strategies.get(f"spacy-torch.{name}.v1")()
    learner = ActiveLearner(nlp, questions(nlp, "textcat"), POOL, strategy=strategy)
    for _ in range(2):
        tasks = learner.ask()
        assert tasks
        learner.receive([reply(task) for task in tasks])


def test_draws_about_one_of_several_labels_are_a_no_and_a_yes():
    model = {**FAST, "exclusive_classes": False, "slow": {**SLOW, "exclusive_classes": False}}
    nlp = make_nlp(model, "torch_textcat_multilabel")
    strategy = registry.torch_query_strategies.get("spacy-torch.BALD.v1")()
    learner = ActiveLearner(nlp, YesNoQuestions(nlp, "textcat"), POOL, strategy=strategy)
    found = learner.score(POOL[:3])
    draws = draw_answers(found, 8, questions=learner.questions)
    assert draws.shape == (8, 6, 2)
    assert draws.sum(axis=2) == pytest.approx(1.0)
    assert learner.ask()


def test_what_is_learned_at_once_alone_is_not_rehearsed(monkeypatch):
    learner = make_learner(epochs=8)

    def fail(*args, **kwargs):
        raise AssertionError("nothing is learned by gradient")

    monkeypatch.setattr(learner.nlp, "update", fail)
    while tasks := learner.ask():
        learner.receive([reply(task) for task in tasks])
    assert accuracy(learner) > 0.9


def test_any_answer_can_be_taken_back_and_is_unlearned():
    learner, other = make_learner(), make_learner()
    tasks = learner.ask()
    learner.receive([reply(task) for task in tasks])
    assert learner.take_back(tasks[1]["_task_hash"]) == tasks[1]
    other.receive([reply(task) for task in (tasks[0], *tasks[2:])])
    assert scores(learner) == scores(other)
    assert learner.ask() == [tasks[1]]
    with pytest.raises(ValueError, match="there is no answer with the hash 0 to take back"):
        learner.take_back(0)


def test_a_rate_that_warms_up_from_nothing_learns_in_a_session():
    nlp = make_nlp(SLOW)
    nlp.config["training"]["optimizer"] = {
        "@optimizers": "spacy-torch.AdamW.v1",
        "learn_rate": {
            "@schedules": "warmup_linear.v1",
            "initial_rate": 0.01,
            "warmup_steps": 10,
            "total_steps": 30,
        },
    }
    learner = make_learner(nlp, epochs=8)
    while tasks := learner.ask():
        learner.receive([reply(task) for task in tasks])
    assert accuracy(learner) > 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epsilon": 1.5}, "epsilon must be a share from 0 to 1, got 1.5"),
        ({"drop": float("nan")}, "drop must be a share from 0 to 1, got nan"),
        ({"batch": 0}, "batch must be 1 or more, got 0"),
        ({"epochs": -1}, "epochs must be 0 or more, got -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Settings(**settings)
