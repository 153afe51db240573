"""What every installed component does, whatever it annotates.

A new component needs an entry in `TRUTH`, and nothing else here.
"""

import json
import math
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
from images import CORNERS, as_uri, draw_patterns
from spacy.language import Language
from spacy.tokens import Doc
from spacy.tokens.underscore import Underscore
from spacy.training import Example

from spacy_torch.bridge.model import get_shim

FACTORIES = sorted(
    point.name
    for point in distribution("spacy-torch").entry_points
    if point.group == "spacy_factories"
)

# For each factory texts with their truth, as `Example.from_dict` takes it, "relations" as
# `doc._.relations` does and "boxes" as `doc._.boxes` does: few enough to be learned by heart in a
# second, of different lengths.
TRUTH: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "torch_relations": [
        (
            "Ann runs Acme",
            {
                "entities": [(0, 3, "PERSON"), (9, 13, "ORG")],
                "relations": [((0, 1), (2, 3), "runs")],
            },
        ),
        (
            "Acme was sold to Bob by Ann , says Ann",
            {
                "entities": [
                    (0, 4, "ORG"),
                    (17, 20, "PERSON"),
                    (24, 27, "PERSON"),
                    (35, 38, "PERSON"),
                ],
                "relations": [((4, 5), (0, 1), "owns"), ((6, 7), (0, 1), "sells")],
            },
        ),
        ("Bob left", {"entities": [(0, 3, "PERSON")], "relations": []}),
        (
            "Bob met Ann",
            {"entities": [(0, 3, "PERSON"), (8, 11, "PERSON")], "relations": []},
        ),
    ],
    "torch_spancat": [
        ("a table for two at seven", {"spans": {"sc": [(12, 15, "people"), (19, 24, "time")]}}),
        ("seven", {"spans": {"sc": [(0, 5, "time")]}}),
        ("no thanks", {"spans": {"sc": []}}),
        ("two of us , or two tables", {"spans": {"sc": [(0, 9, "people"), (0, 3, "people")]}}),
    ],
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
    "torch_image_classifier": [
        (as_uri(CORNERS), {"cats": {"upright": 1.0, "turned": 0.0}}),
        (as_uri(CORNERS // 2), {"cats": {"upright": 1.0, "turned": 0.0}}),
        (as_uri(CORNERS[::-1]), {"cats": {"upright": 0.0, "turned": 1.0}}),
        (as_uri(CORNERS[::-1] // 2), {"cats": {"upright": 0.0, "turned": 1.0}}),
    ],
    "torch_image_classifier_multilabel": [
        (as_uri(CORNERS), {"cats": {"left": 0.0, "turned": 0.0}}),
        (as_uri(CORNERS[::-1]), {"cats": {"left": 0.0, "turned": 1.0}}),
        (as_uri(CORNERS[::-1, ::-1]), {"cats": {"left": 1.0, "turned": 1.0}}),
        (as_uri(CORNERS[:, ::-1]), {"cats": {"left": 1.0, "turned": 0.0}}),
    ],
    "torch_object_detector": [
        (
            as_uri(draw_patterns(*places, seed=seed)),
            {"boxes": [(*place, 16, 16) for place in places]},
        )
        for seed, places in enumerate(
            [
                [("across", 4, 8), ("down", 40, 30)],
                [("down", 10, 2)],
                [("across", 36, 6), ("across", 20, 40)],
                [],
                [("down", 30, 44), ("across", 2, 20)],
            ]
        )
    ],
    "torch_morphologizer": [
        (
            "she sees him",
            {
                "pos": ["PRON", "VERB", "PRON"],
                "morphs": ["Case=Nom|Number=Sing", "Number=Sing", "Case=Acc|Number=Sing"],
            },
        ),
        ("go", {"pos": ["VERB"], "morphs": [""]}),
        (
            "two dogs bark loudly",
            {"pos": ["NUM", "NOUN", "VERB", "ADV"], "morphs": ["", "Number=Plur", "", ""]},
        ),
    ],
    "torch_senter": [
        ("she sleeps . he eats", {"sent_starts": [1, -1, -1, 1, -1]}),
        ("go", {"sent_starts": [1]}),
        ("no . he sleeps . she eats", {"sent_starts": [1, -1, 1, -1, -1, 1, -1]}),
    ],
    "torch_ner": [
        ("Ada Lovelace met Babbage", {"entities": [(0, 12, "PERSON"), (17, 24, "PERSON")]}),
        ("London", {"entities": [(0, 6, "PLACE")]}),
        (
            "the river flows from Oxford to London Bridge",
            {"entities": [(21, 27, "PLACE"), (31, 44, "PLACE")]},
        ),
        ("nothing here", {"entities": []}),
    ],
    "torch_parser": [
        ("she sees him", {"heads": [1, 1, 1], "deps": ["nsubj", "ROOT", "obj"]}),
        ("go", {"heads": [0], "deps": ["ROOT"]}),
        (
            "they bark the old man sees a dog",
            {
                "heads": [1, 1, 4, 4, 5, 5, 7, 5],
                "deps": ["nsubj", "ROOT", "det", "amod", "nsubj", "ROOT", "det", "obj"],
            },
        ),
    ],
}

# What must come before a component so that it has something to do: a factory and its settings
# for `nlp.initialize`.
BEFORE: dict[str, tuple[str, dict[str, Any]]] = {
    "torch_relations": (
        "entity_ruler",
        {
            "patterns": [
                {"label": label, "pattern": [{"ORTH": word}]}
                for word, label in {"Ann": "PERSON", "Bob": "PERSON", "Acme": "ORG"}.items()
            ]
        },
    ),
}

# Where the defaults are for larger things than these.
SETTINGS: dict[str, dict[str, Any]] = {
    "torch_object_detector": {"model": {"encoder": {"size": 64}}},
}

# Whose texts stand for pictures, which any text does not.
OF_PICTURES = {"torch_object_detector"} | {name for name in FACTORIES if "image" in name}


def make_pipeline(factory: str, **runtime: Any) -> Language:
    """A pipeline of the component, named like its factory, and what must come before it."""
    nlp = spacy.blank("image" if factory in OF_PICTURES else "en")
    if factory in BEFORE:
        name, settings = BEFORE[factory]
        nlp.add_pipe(name)
        nlp.config["initialize"]["components"][name] = settings
    settings = SETTINGS.get(factory, {})
    if runtime:
        model = settings.get("model") or Language.get_factory_meta(factory).default_config["model"]
        settings = {**settings, "model": {**model, "runtime": runtime}}
    nlp.add_pipe(factory, config=settings)
    return nlp


def make_examples(nlp: Language, factory: str) -> list[Example]:
    assert factory in TRUTH, (
        f"{factory} is registered, but not tested here: give it a few texts with their truth in "
        "TRUTH"
    )
    return [make_example(nlp, text, **truth) for text, truth in TRUTH[factory]]


def make_example(
    nlp: Language,
    text: str,
    *,
    relations: list[Any] | None = None,
    boxes: list[Any] | None = None,
    **truth: Any,
) -> Example:
    example = Example.from_dict(nlp.make_doc(text), truth)
    if boxes is not None:
        example.reference._.boxes = boxes
    if relations is not None:
        example.reference._.relations = relations
    return example


@pytest.fixture(scope="module", params=FACTORIES)
def nlp(request: pytest.FixtureRequest) -> Language:
    """A trained pipeline, the component its last."""
    torch.manual_seed(0)
    nlp = make_pipeline(request.param)
    examples = make_examples(nlp, request.param)
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    return nlp


def texts_of(nlp: Language) -> list[str]:
    return [text for text, _ in TRUTH[nlp.pipe_names[-1]]]


def flatten(annotation: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    """The values in a Doc's JSON by their place, for `pytest.approx`."""
    if not isinstance(annotation, (dict, list, tuple)):
        yield path, annotation
        return
    parts = annotation.items() if isinstance(annotation, dict) else enumerate(annotation)
    for key, part in parts:
        yield from flatten(part, f"{path}/{key}")


def annotations(docs: Iterable[Any]) -> list[dict[str, Any]]:
    return [dict(flatten(to_json(doc) if isinstance(doc, Doc) else doc)) for doc in docs]


def to_json(doc: Doc) -> dict[str, Any]:
    """With the extensions, where anything was set."""
    return doc.to_json(underscore=list(Underscore.doc_extensions) if doc.user_data else None)


def predict(nlp: Language) -> list[dict[str, Any]]:
    return annotations(nlp.pipe(texts_of(nlp)))


def assert_close(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert found == [pytest.approx(annotation, abs=1e-5) for annotation in expected]


def weighted_score(nlp: Language) -> float:
    scores = nlp.evaluate(make_examples(nlp, nlp.pipe_names[-1]))
    weights = nlp.config["training"]["score_weights"]
    return sum(scores[key] * weight for key, weight in weights.items() if weight)


def test_component_learns_its_examples_by_heart(nlp):
    assert weighted_score(nlp) > 0.99


def find_gradients(factory: str, **runtime: Any) -> dict[str, torch.Tensor]:
    """Of one batch, without dropout."""
    torch.manual_seed(0)
    nlp = make_pipeline(factory, **runtime)
    examples = make_examples(nlp, factory)
    nlp.initialize(lambda: examples)
    nlp.update(examples, sgd=False, exclude=nlp.pipe_names[:-1])
    shim = get_shim(nlp.get_pipe(factory).logits_model)
    return {
        name: parameter.grad.to_dense()
        for name, parameter in shim.module.named_parameters()
        if parameter.grad is not None
    }


# Those of pictures see them moved at random, each time otherwise.
@pytest.mark.parametrize("factory", sorted(set(FACTORIES) - OF_PICTURES))
def test_batch_that_is_run_in_parts_has_the_same_gradient(factory):
    expected, found = find_gradients(factory), find_gradients(factory, batch_tokens=1)
    assert expected
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("factory", FACTORIES)
def test_component_learns_in_half_precision(factory):
    torch.manual_seed(0)
    nlp = make_pipeline(factory, precision="bf16")
    examples = make_examples(nlp, factory)
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(60):
        nlp.update(examples, sgd=optimizer)
    module = get_shim(nlp.get_pipe(factory).logits_model).module
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    assert weighted_score(nlp) > 0.99


def test_pipeline_comes_back_from_disk(nlp, tmp_path):
    nlp.to_disk(tmp_path)
    assert predict(spacy.load(tmp_path)) == predict(nlp)


def test_pipeline_comes_back_from_bytes(nlp):
    other = make_pipeline(nlp.pipe_names[-1])
    assert predict(other.from_bytes(nlp.to_bytes())) == predict(nlp)


def test_component_comes_back_from_a_pickle(nlp):
    component = pickle.loads(pickle.dumps(nlp.get_pipe(nlp.pipe_names[-1])))
    texts = texts_of(nlp)
    with nlp.select_pipes(disable=nlp.pipe_names[-1]):
        docs = list(nlp.pipe(texts))
    assert annotations(component.pipe(docs)) == predict(nlp)


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


def test_odd_texts_are_annotated_and_change_nothing_beside_them(nlp):
    odd = [" ", " \n\n ", "x" * 100_000, "\u200b", "🦆 e\u0301t\u00e9", "! ? !"]
    if nlp.pipe_names[-1] in OF_PICTURES:
        one_pixel, one_colour = CORNERS[:1, :1], CORNERS[:1, :1].repeat(70, 0).repeat(3, 1)
        odd = [as_uri(one_pixel), as_uri(one_colour), as_uri(CORNERS.repeat(300, 1))]
    texts = texts_of(nlp)
    found = annotations(nlp.pipe([*odd, *texts, *odd]))
    assert_close(found[len(odd) : len(odd) + len(texts)], predict(nlp))
    assert_close(found[: len(odd)], found[-len(odd) :])


@pytest.mark.parametrize("factory", FACTORIES)
def test_examples_whose_tokens_were_split_otherwise_train(factory):
    nlp = make_pipeline(factory)
    examples = make_examples(nlp, factory)
    optimizer = nlp.initialize(lambda: examples)
    for eg in examples:
        eg.predicted = split_otherwise(eg.predicted)
    for _ in range(3):
        losses = nlp.update(examples, sgd=optimizer)
        assert math.isfinite(losses[factory])


def split_otherwise(doc: Doc) -> Doc:
    """The same text, every other token cut in two."""
    words: list[str] = []
    spaces: list[bool] = []
    for token in doc:
        cut = len(token) // 2 if token.i % 2 == 0 else 0
        parts = [part for part in (token.text[:cut], token.text[cut:]) if part]
        words += parts
        spaces += [False] * (len(parts) - 1) + [bool(token.whitespace_)]
    return Doc(doc.vocab, words, spaces, user_data=doc.user_data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda doc: ["a text"], "takes Docs, but number 0 is 'a text': pass a list of Docs"),
        (lambda doc: [doc, None], "takes Docs, but number 1 is None: pass a list of Docs"),
        (lambda doc: "a text", "takes several documents, got 'a text': pass a list of Docs"),
        (lambda doc: doc, "takes several documents, got a single Doc: pass a list of Docs"),
        (lambda doc: None, "takes several documents, got None: pass a list of Docs"),
    ],
)
def test_probabilities_are_asked_for_several_docs(nlp, make, message):
    name = nlp.pipe_names[-1]
    with pytest.raises(TypeError, match=f"'{name}': probabilities\\(\\) {message}"):
        nlp.get_pipe(name).probabilities(make(nlp.make_doc("a text")))


def test_four_threads_annotate_like_one(nlp):
    expected = predict(nlp)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: predict(nlp), range(20)):
            assert_close(found, expected)


IN_PROCESSES = """
import json, sys
import spacy
from spacy.tokens.underscore import Underscore

def to_json(doc):
    return doc.to_json(underscore=list(Underscore.doc_extensions) if doc.user_data else None)

if __name__ == "__main__":
    pipeline, texts, found = sys.argv[1:]
    docs = spacy.load(pipeline).pipe(json.loads(texts), n_process=2, batch_size=2)
    with open(found, "w", encoding="utf8") as file:
        json.dump([to_json(doc) for doc in docs], file)
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
