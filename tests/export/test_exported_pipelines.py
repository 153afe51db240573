"""What every exported pipeline does, whatever the format and whatever is in it."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import spacy
from spacy.training import Example
from tiny_transformer import make_transformer
from trained_pipelines import (
    TEXTS,
    TRUTH,
    annotate,
    make_ner,
    make_stock,
    make_textcat,
    make_transformer_tagger,
    train,
)

from spacy_torch.architectures.exported import Format
from spacy_torch.export.pipeline import EXPORTERS, export_pipeline
from spacy_torch.export.report import Report

# A score may move by so much: 8 bits are not exact, and where a number falls between two of its
# levels, the order of a sum decides.
TOLERANCE: dict[Format, float] = {"int8": 0.05, "onnx": 1e-4, "torch.export": 1e-4}
PIPELINES: dict[str, Callable[..., dict[str, Any]]] = {
    "textcat": make_textcat,
    "ner": make_ner,
    "stock": make_stock,
    "transformer": make_transformer_tagger,
}


# Tracing a module takes seconds.
PAIRS = [
    *(pytest.param((name, "int8"), id=f"{name}-int8") for name in PIPELINES),
    pytest.param(("textcat", "onnx"), id="textcat-onnx"),
    *(
        pytest.param((name, format), id=f"{name}-{format}", marks=pytest.mark.slow)
        for name, format in [
            ("textcat", "torch.export"),
            ("ner", "onnx"),
            ("stock", "torch.export"),
            ("transformer", "onnx"),
            ("transformer", "torch.export"),
        ]
    ),
]


@pytest.fixture(scope="module", params=PAIRS)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    name, format = request.param
    folder = ()
    if name == "transformer":
        path = tmp_path_factory.mktemp("transformer")
        folder = (make_transformer(path, intermediate_size=256),)
    return export_pipeline(train(PIPELINES[name](*folder)), format, texts=TEXTS)


def assert_close(report: Report, found: list[dict[str, Any]], expected: list[dict[str, Any]]):
    for left, right in zip(found, expected, strict=True):
        assert left.keys() == right.keys()
        for key, value in left.items():
            if isinstance(value, float):
                value = pytest.approx(value, abs=TOLERANCE[report.format])
            assert value == right[key]


def test_exported_pipeline_annotates_what_the_original_learned(report):
    nlp = report.original
    assert_close(report, annotate(report.nlp), annotate(nlp))
    assert report.nlp.pipe_names == nlp.pipe_names
    assert report.objection is None
    (part,) = report.exported
    assert part.difference <= TOLERANCE[report.format] * part.largest


def test_exported_pipeline_comes_back_from_disk_as_it_was(report, tmp_path):
    report.nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert annotate(loaded) == annotate(report.nlp)
    factories = [loaded.get_pipe_meta(name).factory for name in loaded.pipe_names]
    assert factories == [report.original.get_pipe_meta(n).factory for n in loaded.pipe_names]


def test_exported_pipeline_comes_back_from_bytes_as_it_was(report):
    blank = type(report.nlp).from_config(report.nlp.config)
    assert annotate(blank.from_bytes(report.nlp.to_bytes())) == annotate(report.nlp)


def test_exported_component_comes_back_from_a_pickle_as_it_was(report):
    name = report.exported[0].component
    docs = [report.nlp.make_doc(text) for text in TEXTS]
    copied = pickle.loads(pickle.dumps(report.nlp.get_pipe(name)))
    found, expected = (pipe.predict(docs) for pipe in (copied, report.nlp.get_pipe(name)))
    assert str(found) == str(expected)


def test_call_and_pipe_and_batches_of_any_size_annotate_alike(report):
    expected = annotate(report.nlp)
    single = [row for text in TEXTS for row in annotate(report.nlp, [text])]
    assert_close(report, single, expected)
    for size in (1, 3):
        assert_close(report, annotate(report.nlp, batch_size=size), expected)


def test_doc_without_tokens_is_annotated_and_changes_nothing_beside_it(report):
    found = annotate(report.nlp, ["", *TEXTS, ""])
    assert_close(report, found[1:-1], annotate(report.nlp))
    assert_close(report, annotate(report.nlp, ["", ""]), [found[0], found[-1]])


def test_exported_pipeline_cannot_be_trained_initialized_or_extended(report):
    nlp = report.nlp
    truths = zip(TEXTS, TRUTH, strict=True)
    examples = [Example.from_dict(nlp.make_doc(text), truth) for text, truth in truths]
    with pytest.raises(RuntimeError, match="only predicts and cannot be trained: train the pipe"):
        nlp.update(examples, sgd=nlp.resume_training())
    again = pickle.loads(pickle.dumps(nlp))
    with pytest.raises(ValueError, match="exported component cannot be initialized or trained"):
        again.initialize(lambda: examples)


def test_exported_pipeline_is_not_exported_again(report):
    again = export_pipeline(report.nlp, report.format, texts=TEXTS)
    assert [part.kept for part in again.parts] == ["it is exported already"]
    assert again.nlp is report.nlp


def test_every_format_is_tested():
    assert {param.values[0][1] for param in PAIRS} == EXPORTERS.keys()
