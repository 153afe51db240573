"""What every installed component does, whatever it annotates.

A new component needs an entry in `TRUTH`, and nothing else here.
"""

import json
import pickle
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example

FACTORIES = sorted(
    point.name
    for point in distribution("spacy-torch").entry_points
    if point.group == "spacy_factories"
)

# For each factory texts with their truth, as `Example.from_dict` takes it: few enough to be
# learned by heart in a second, of different lengths.
TRUTH: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "torch_tagger": [
        ("she sees him", {"tags": ["PRP", "VBZ", "PRP"]}),
        ("go", {"tags": ["VB"]}),
        ("the old man sees a dog", {"tags": ["DT", "JJ", "NN", "VBZ", "DT", "NN"]}),
    ],
    "torch_textcat": [
        ("my card has not arrived", {"cats": {"delivery": 1.0, "rates": 0.0}}),
        ("where is it", {"cats": {"delivery": 1.0, "rates": 0.0}}),
        ("what is the exchange rate today", {"cats": {"delivery": 0.0, "rates": 1.0}}),
        ("euros", {"cats": {"delivery": 0.0, "rates": 1.0}}),
    ],
    "torch_textcat_multilabel": [
        ("the room was clean and the food was good", {"cats": {"room": 1.0, "food": 1.0}}),
        ("clean", {"cats": {"room": 1.0, "food": 0.0}}),
        ("a good breakfast", {"cats": {"room": 0.0, "food": 1.0}}),
        ("we had to leave early", {"cats": {"room": 0.0, "food": 0.0}}),
    ],
}


def make_examples(nlp: Language, factory: str) -> list[Example]:
    assert factory in TRUTH, (
        f"{factory} is registered, but not tested here: give it a few texts with their truth in "
        "TRUTH"
    )
    return [Example.from_dict(nlp.make_doc(text), truth) for text, truth in TRUTH[factory]]


@pytest.fixture(scope="module", params=FACTORIES)
def nlp(request: pytest.FixtureRequest) -> Language:
    """A pipeline with nothing but the component, named like its factory, and trained."""
    torch.manual_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe(request.param)
    examples = make_examples(nlp, request.param)
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    return nlp


def texts_of(nlp: Language) -> list[str]:
    return [text for text, _ in TRUTH[nlp.pipe_names[0]]]


def flatten(annotation: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    """The values in a Doc's JSON by their place, for `pytest.approx`."""
    if not isinstance(annotation, (dict, list)):
        yield path, annotation
        return
    parts = annotation.items() if isinstance(annotation, dict) else enumerate(annotation)
    for key, part in parts:
        yield from flatten(part, f"{path}/{key}")


def annotations(docs: Iterable[Any]) -> list[dict[str, Any]]:
    return [dict(flatten(doc.to_json() if isinstance(doc, Doc) else doc)) for doc in docs]


def predict(nlp: Language) -> list[dict[str, Any]]:
    return annotations(nlp.pipe(texts_of(nlp)))


def assert_close(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert found == [pytest.approx(annotation, abs=1e-5) for annotation in expected]


def test_component_learns_its_examples_by_heart(nlp):
    scores = nlp.evaluate(make_examples(nlp, nlp.pipe_names[0]))
    weights = {key: weight for key, weight in nlp.config["training"]["score_weights"].items()}
    assert sum(scores[key] * weight for key, weight in weights.items() if weight) > 0.99


def test_pipeline_comes_back_from_disk(nlp, tmp_path):
    nlp.to_disk(tmp_path)
    assert predict(spacy.load(tmp_path)) == predict(nlp)


def test_pipeline_comes_back_from_bytes(nlp):
    other = spacy.blank("en")
    other.add_pipe(nlp.pipe_names[0])
    assert predict(other.from_bytes(nlp.to_bytes())) == predict(nlp)


def test_component_comes_back_from_a_pickle(nlp):
    component = pickle.loads(pickle.dumps(nlp.get_pipe(nlp.pipe_names[0])))
    docs = component.pipe(map(nlp.make_doc, texts_of(nlp)))
    assert annotations(docs) == predict(nlp)


def test_pipe_and_call_annotate_alike(nlp):
    assert_close(annotations(map(nlp, texts_of(nlp))), predict(nlp))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_batches_and_their_order_change_nothing(nlp, batch_size):
    expected = predict(nlp)
    texts = texts_of(nlp)
    assert_close(annotations(nlp.pipe(texts, batch_size=batch_size)), expected)
    backwards = annotations(nlp.pipe(reversed(texts), batch_size=batch_size))
    assert_close(backwards[::-1], expected)


def test_doc_without_tokens_is_annotated_and_changes_nothing_beside_it(nlp):
    alone = annotations([nlp("")])
    beside = annotations(nlp.pipe(["", *texts_of(nlp), ""]))
    assert_close(beside, [*alone, *predict(nlp), *alone])
    assert_close(annotations(nlp.pipe(["", ""])), [*alone, *alone])


def test_four_threads_annotate_like_one(nlp):
    expected = predict(nlp)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: predict(nlp), range(20)):
            assert_close(found, expected)


IN_PROCESSES = """
import json, sys
import spacy

if __name__ == "__main__":
    pipeline, texts, found = sys.argv[1:]
    docs = spacy.load(pipeline).pipe(json.loads(texts), n_process=2, batch_size=2)
    with open(found, "w", encoding="utf8") as file:
        json.dump([doc.to_json() for doc in docs], file)
"""


@pytest.mark.slow
def test_two_processes_annotate_like_one(nlp, tmp_path):
    nlp.to_disk(tmp_path / "pipeline")
    script, found = tmp_path / "script.py", tmp_path / "found.json"
    script.write_text(IN_PROCESSES, encoding="utf8")
    arguments = [str(tmp_path / "pipeline"), json.dumps(texts_of(nlp)), str(found)]
    with Path(tmp_path / "errors").open("w+") as errors:
        # A file and no pipe: workers that hang would keep a pipe open past the timeout.
        command = [sys.executable, str(script), *arguments]
        result = subprocess.run(command, stderr=errors, timeout=180, check=False)
        errors.seek(0)
        assert result.returncode == 0, errors.read()
    assert_close(annotations(json.loads(found.read_text(encoding="utf8"))), predict(nlp))


def test_every_entry_is_of_a_registered_factory():
    assert sorted(TRUTH) == FACTORIES
