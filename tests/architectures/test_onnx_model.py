"""An ONNX graph trains, is saved and loaded like any module, also where its file is gone."""

import pickle
import sys
from pathlib import Path
from typing import Any, Literal

import numpy
import onnx
import onnxruntime
import pytest
import spacy
import torch
from onnx import TensorProto, helper, numpy_helper
from spacy.language import Language
from spacy.tokens import Doc
from tiny_textcat import TEXTS, make_examples, predict

from spacy_torch.architectures.onnx_model import (
    OnnxClassifier,
    build_onnx,
    read_graph,
)
from spacy_torch.bridge.model import get_shim
from spacy_torch.nn.onnx_graph import OnnxGraph, find_type

BINS = 24


def count_words(docs: list[Doc]) -> Any:
    counts = numpy.zeros((len(docs), BINS), dtype="float32")
    for row, doc in zip(counts, docs, strict=True):
        for token in doc:
            row[token.orth % BINS] += 1
    return {"counts": counts}


@spacy.registry.architectures("tests.ONNX.v1")
def build_model(
    path: Path, head: Literal["graph", "linear"] = "graph", exclusive_classes: bool = True
):
    return build_onnx(path, count_words, head=head, exclusive_classes=exclusive_classes)


def write_graph(
    path: Path,
    *,
    batch: Any = "batch",
    width: int = 2,
    opset: int = 17,
    operator: str = "Relu",
    said: int | None = None,
) -> Path:
    """A hidden layer with a norm of its statistics, and an output layer."""
    random = numpy.random.default_rng(0)
    shapes = {"w1": (BINS, 16), "b1": (16,), "mean": (16,), "variance": (16,), "w2": (width, 16)}
    arrays = {name: random.normal(size=shape) for name, shape in shapes.items()}
    arrays["variance"] = numpy.abs(arrays["variance"]) + 1
    arrays["ones"] = numpy.ones(16)
    tensors = [numpy_helper.from_array(a.astype("float32"), name) for name, a in arrays.items()]
    nodes = [
        helper.make_node("Gemm", ["counts", "w1", "b1"], ["hidden"]),
        helper.make_node(operator, ["hidden"], ["active"]),
        helper.make_node(
            "BatchNormalization", ["active", "ones", "b1", "mean", "variance"], ["normed"]
        ),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Mul", ["normed", "half"], ["scaled"]),
        helper.make_node("Gemm", ["scaled", "w2"], ["logits"], transB=1),
    ]
    counts = helper.make_tensor_value_info("counts", TensorProto.FLOAT, [batch, BINS])
    logits = helper.make_tensor_value_info(
        "logits", TensorProto.FLOAT, [batch, width if said is None else "unknown"]
    )
    graph = helper.make_graph(nodes, "g", [counts], [logits], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path


def make_nlp(path: Path, **settings: Any) -> Language:
    nlp = spacy.blank("en")
    model = {"@architectures": "tests.ONNX.v1", "path": str(path), **settings}
    nlp.add_pipe("torch_textcat", config={"model": model})
    return nlp


def train(nlp: Language, *, steps: int) -> Language:
    examples = make_examples(nlp)
    optimizer = nlp.initialize(lambda: examples)
    optimizer.learn_rate = 0.02
    for _ in range(steps):
        nlp.update(examples, sgd=optimizer)
    return nlp


def module_of(nlp: Language) -> OnnxClassifier:
    module = get_shim(nlp.get_pipe("torch_textcat").logits_model).module
    assert isinstance(module, OnnxClassifier)
    return module


def best(nlp: Language) -> list[str]:
    return [max(scores, key=scores.__getitem__) for scores in predict(nlp)]


def test_untrained_graph_gives_what_onnx_runtime_gives(tmp_path):
    path = write_graph(tmp_path / "model.onnx")
    nlp = train(make_nlp(path), steps=0)
    batch = count_words([nlp.make_doc(text) for text in TEXTS])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, batch)
    found = module_of(nlp)({"counts": torch.from_numpy(batch["counts"])})
    torch.testing.assert_close(found.detach(), torch.from_numpy(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("head", "width"), [("graph", 2), ("linear", 5)])
def test_graph_learns_and_comes_back_without_its_file(tmp_path, head, width, monkeypatch):
    path = write_graph(tmp_path / "model.onnx", width=width)
    nlp = train(make_nlp(path, head=head), steps=60)
    assert best(nlp) == [*TEXTS.values()]
    expected = predict(nlp)
    nlp.to_disk(tmp_path / "pipeline")
    path.unlink()
    monkeypatch.setitem(sys.modules, "onnx", None)  # nor the package
    loaded = spacy.load(tmp_path / "pipeline")
    assert predict(loaded) == expected
    assert predict(make_nlp(path, head=head).from_bytes(nlp.to_bytes())) == expected
    component = pickle.loads(pickle.dumps(nlp.get_pipe("torch_textcat")))
    docs = [nlp.make_doc(text) for text in TEXTS]
    assert (component.predict(docs) == nlp.get_pipe("torch_textcat").predict(docs)).all()
    loaded.update(make_examples(loaded), sgd=loaded.resume_training())
    assert predict(loaded) != expected


def test_weights_are_learned_and_statistics_and_constants_are_not(tmp_path):
    structure, weights = read_graph(write_graph(tmp_path / "model.onnx"))
    learned = {name for name, _, _, is_learned in structure["tensors"] if is_learned}
    assert learned == {"w1", "b1", "w2", "ones"}
    assert weights.keys() - learned == {"mean", "variance"}
    assert structure["constants"] == {"half": ["float32", [], [0.5]]}
    assert structure["width"] == 2


def test_documents_without_tokens_and_batches_change_nothing(tmp_path):
    nlp = train(make_nlp(write_graph(tmp_path / "model.onnx")), steps=5)
    found = [dict(doc.cats) for doc in nlp.pipe(["", *TEXTS, ""], batch_size=2)]
    for left, right in zip(found[1:-1], predict(nlp), strict=True):
        assert left == pytest.approx(right, abs=1e-5)
    assert found[0] == found[-1] == {"good": 0.5, "bad": 0.5}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 4}, "the input 'counts' is for batches of 4: export the graph with a dynamic"),
        ({"opset": 12}, "the graph is of operator set 12, at least 13 is needed"),
        ({"width": 3}, 'has 3 outputs, but there are 2 labels: set head = "linear"'),
        ({"operator": "Sign"}, "has operators that are not known here: Sign; known are Abs, Add"),
    ],
)
def test_graphs_that_cannot_be_trained_are_refused(tmp_path, settings, message):
    path = write_graph(tmp_path / "model.onnx", **settings)
    with pytest.raises(ValueError, match=message):
        train(make_nlp(path), steps=0)


def test_linear_head_needs_a_width(tmp_path):
    path = write_graph(tmp_path / "model.onnx", said=0)
    with pytest.raises(ValueError, match="does not say how wide its output is, as head"):
        train(make_nlp(path, head="linear"), steps=0)


def test_files_that_are_none_are_named(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    with pytest.raises(OSError, match="model.onnx"):
        train(make_nlp(path), steps=0)
    path.write_bytes(b"no graph")
    with pytest.raises(ValueError, match="model.onnx: not a valid ONNX file"):
        train(make_nlp(path), steps=0)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"needs the package 'onnx' to read .*\[onnx\]"):
        read_graph(path)


def test_features_must_be_a_function(tmp_path):
    with pytest.raises(TypeError, match="features must be a function from a list of Doc objects"):
        build_onnx(tmp_path, "count", exclusive_classes=True)  # type: ignore[arg-type]


def test_inputs_are_given_by_place_or_by_name():
    graph = OnnxGraph(
        inputs=["a", "b"],
        outputs=["c", "a"],
        nodes=[("Sub", ["a", "b"], ["c"], {})],
        tensors=[],
        constants={},
    )
    one, two = torch.tensor([1.0]), torch.tensor([2.0])
    assert graph(one, two) == (torch.tensor([-1.0]), one)
    assert graph(one, b=two) == graph(b=two, a=one) == (torch.tensor([-1.0]), one)
    for args, kwargs in (((one,), {}), ((one, two, two), {}), ((one, two), {"x": one})):
        with pytest.raises(ValueError, match=r"the graph takes \['a', 'b'\], got \d by position"):
            graph(*args, **kwargs)
    with pytest.raises(ValueError, match="torch has no type 'nn'"):
        find_type("nn")


def test_tuple_of_features_is_spread_over_the_inputs(tmp_path):
    graph = {
        "inputs": ["a", "b"],
        "outputs": ["c"],
        "nodes": [("Add", ["a", "b"], ["c"], {})],
        "tensors": [],
        "constants": {},
        "width": 2,
    }
    module = OnnxClassifier(graph, path=tmp_path, head="graph", n_labels=2)
    ones = torch.ones(3, 2)
    assert torch.equal(module((ones, ones)), 2 * ones)
    assert torch.equal(module(ones, ones), 2 * ones)


def test_example_of_the_guide_learns(tmp_path):
    guide = Path(__file__).parents[2] / "docs" / "modules.md"
    code = guide.read_text(encoding="utf-8").partition("```python\n# my_graph.py")[2]
    exec(code.partition("```")[0], {})
    path = write_graph(tmp_path / "model.onnx", width=5)
    nlp = spacy.blank("en")
    model = {"@architectures": "my_graph.v1", "path": str(path)}
    nlp.add_pipe("torch_textcat", config={"model": model})
    assert best(train(nlp, steps=60)) == [*TEXTS.values()]
