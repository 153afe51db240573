"""A session that is killed loses no confirmed answer and goes on as if nothing had been."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, os, random, signal, sys, time

from spacy.util import registry
from tiny_gold import GOLD, make_config

from spacy_torch.annotation.active import ActiveLearner, Settings
from spacy_torch.annotation.classifier_pipeline import build_pipeline, initialize_classifier
from spacy_torch.annotation.journal import Journal
from spacy_torch.annotation.oracle import Oracle
from spacy_torch.annotation.questions import ChoiceQuestions

path = sys.argv[1]
nlp = build_pipeline(make_config(), seed=0)
docs = [nlp.make_doc(gold.task["text"]) for gold in GOLD]
initialize_classifier(nlp, "textcat", labels=["NEG", "POS"], docs=docs, pool=docs)
oracle = Oracle(GOLD)


def answer_all(journal, confirm):
    margin = registry.torch_query_strategies.get("spacy-torch.Margin.v1")()
    learner = ActiveLearner(
        nlp, ChoiceQuestions(nlp, "textcat"), [gold.task for gold in GOLD], strategy=margin,
        journal=journal, settings=Settings(batch=4, epochs=0),
    )
    while tasks := learner.ask():
        learner.receive([oracle.answer(tasks[0])])
        confirm(tasks[0]["_task_hash"])


def fork(work):
    # What the child does to the model is gone with it.
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        work(lambda number: os.write(writer, b"%d\\n" % number))
        os._exit(0)
    os.close(writer)
    return child, open(reader, "rb")


def finish(child, confirmed):
    numbers = [int(line) for line in confirmed]
    os.waitpid(child, 0)
    return numbers


random.seed(0)
told, lost, n_killed = set(), 0, 0
for _ in range(20):
    child, confirmed = fork(lambda confirm: answer_all(Journal(path), confirm))
    for _ in range(random.randrange(4)):
        line = confirmed.readline()  # empty once all is answered
        told.update([int(line)] if line else [])
    time.sleep(random.uniform(0, 0.003))
    os.kill(child, signal.SIGKILL)
    told.update(finish(child, confirmed))
    lost += len(told - set(Journal(path).answers))
    n_killed += 1
told.update(finish(*fork(lambda confirm: answer_all(Journal(path), confirm))))
unbroken = finish(*fork(lambda confirm: answer_all(Journal(None), confirm)))
print(json.dumps({
    "lost": lost, "killed": n_killed, "unbroken": unbroken, "found": list(Journal(path).answers),
    "told": len(told),
}))
"""


def test_a_session_killed_twenty_times_asks_and_knows_what_an_unbroken_one_does(tmp_path):
    tests = str(Path(__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {tests!r})\n{SCRIPT}"
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    result = subprocess.run(
        [*command, str(tmp_path / "answers.jsonl")], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["killed"], found["lost"]) == (20, 0)
    # Every question once, in the order of a session that nobody disturbed.
    assert found["found"] == found["unbroken"]
    assert len(found["found"]) == 48
    assert found["told"] <= 48
