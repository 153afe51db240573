import json
from typing import Any

import pytest
import spacy
import torch
from spacy.tokens import Doc
from torch import nn
from trained_pipelines import CNN, TEXTS, annotate, make_ner, make_textcat, train

from spacy_torch.bridge.model import get_shim
from spacy_torch.bridge.weights import WeightsError
from spacy_torch.export.calls import largest_difference, recorded_calls
from spacy_torch.export.pipeline import export_pipeline
from spacy_torch.export.report import Part, Report


@pytest.fixture(scope="module")
def nlp():
    return train({**make_textcat(), **make_ner()})


def test_report_tells_what_was_done_with_each_module(nlp):
    report = export_pipeline(nlp, "int8", texts=TEXTS)
    assert [part.component for part in report.parts] == ["classify", "find"]
    for part in report.parts:
        assert part.kept is None
        assert part.what == "2 matrices of 8 bits"
        assert 0 < part.difference < 0.05 * part.largest
        before, after = part.n_bytes
        # Two of 96 by 96 numbers, of a byte each, and a scale for each output.
        assert before - after == 2 * (96 * 96 * 3 - 96 * 4)
    assert report.n_tokens == 15
    assert min(report.speed(turns=1)) > 0


def test_only_the_named_components_are_exported(nlp):
    report = export_pipeline(nlp, "int8", components=["find"], texts=TEXTS)
    assert [part.component for part in report.parts] == ["find"]
    blocks = report.nlp.config["components"]
    assert blocks["find"]["model"]["@architectures"] == "spacy-torch.Exported.v1"
    assert blocks["classify"]["model"] == nlp.config["components"]["classify"]["model"]
    assert annotate(report.nlp) == annotate(nlp)


def test_original_stays_as_it_is(nlp):
    before, config = nlp.to_bytes(), nlp.config.to_str()
    export_pipeline(nlp, "int8", texts=TEXTS)
    assert (nlp.to_bytes(), nlp.config.to_str()) == (before, config)


def test_docs_are_a_sample_too(nlp):
    docs = [Doc(nlp.vocab, words=["London", "Bridge"])]
    assert export_pipeline(nlp, "int8", texts=docs).n_tokens == 2


def test_module_without_large_matrices_is_kept():
    small = {**CNN, "width": 8}
    model = {**make_textcat()["classify"]["model"], "encoder": small}
    small_nlp = train({"classify": {"factory": "torch_textcat", "model": model}}, steps=1)
    report = export_pipeline(small_nlp, "int8", texts=TEXTS)
    assert [part.kept for part in report.parts] == [
        "it has no matrix that is large enough for 8 bits to be faster"
    ]
    assert report.nlp is small_nlp
    assert report.objection is None


def test_module_that_the_sample_never_reaches_is_kept(nlp):
    with nlp.select_pipes(disable="find"):
        report = export_pipeline(nlp, "int8", texts=TEXTS)
    assert report.parts[1].kept == "the sample never reached it: give texts that do"
    assert [part.component for part in report.exported] == ["classify"]
    assert report.nlp.config["components"]["find"] == nlp.config["components"]["find"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "int4"}, "format must be one of int8, onnx, torch.export, got 'int4'"),
        ({"components": ["x"]}, "no component 'x' with a torch module; .* are 'classify', 'find'"),
        ({"components": "find"}, "components must be a list of names, got 'find'"),
        ({"texts": ["", ""]}, "the sample has no tokens: give texts like those"),
    ],
)
def test_mistakes_are_named(nlp, settings, message):
    with pytest.raises(ValueError, match=message):
        export_pipeline(nlp, **{"format": "int8", "texts": TEXTS, **settings})


def test_untrained_pipeline_is_refused():
    nlp = spacy.blank("en")
    nlp.add_pipe("torch_textcat")
    with pytest.raises(ValueError, match="'torch_textcat' is not trained yet: train it, then"):
        export_pipeline(nlp, "int8", texts=TEXTS)


def test_label_cannot_be_added(nlp):
    exported = export_pipeline(nlp, "int8", texts=TEXTS).nlp
    with pytest.raises(ValueError, match="an exported component cannot be given another label"):
        exported.get_pipe("classify").add_label("medium")


def test_weights_of_another_form_are_refused_by_name(nlp, tmp_path):
    nlp.to_disk(tmp_path / "original")
    export_pipeline(nlp, "int8", texts=TEXTS).nlp.to_disk(tmp_path / "int8")
    weights = tmp_path / "int8" / "find" / "model.safetensors"
    weights.write_bytes((tmp_path / "original" / "find" / "model.safetensors").read_bytes())
    message = r"'find', .*model.safetensors.*weights of 'spacy-torch.CRFTagger.v1', not of .*int8'"
    with pytest.raises(WeightsError, match=message):
        spacy.load(tmp_path / "int8")


def test_damaged_weights_are_refused_by_name(nlp, tmp_path):
    export_pipeline(nlp, "int8", texts=TEXTS).nlp.to_disk(tmp_path)
    weights = tmp_path / "find" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(WeightsError, match="'find', .*damaged: the bytes of tensors '.*weight'"):
        spacy.load(tmp_path)


def test_layers_that_the_module_lacks_are_refused(nlp, tmp_path):
    export_pipeline(nlp, "int8", texts=TEXTS).nlp.to_disk(tmp_path)
    config = (tmp_path / "config.cfg").read_text("utf-8").replace("depth = 3", "depth = 2")
    (tmp_path / "config.cfg").write_text(config, "utf-8")
    with pytest.raises(WeightsError, match=r"no layer 'encoder.layers.2' to round to 8 bits"):
        spacy.load(tmp_path)


def test_calls_are_recorded_within_the_context_only():
    module = nn.Linear(2, 1)
    with recorded_calls(module) as calls:
        expected = module(torch.ones(3, 2))
    module(torch.ones(1, 2))
    (call,) = calls
    assert torch.equal(call.outputs, expected)
    assert torch.equal(call.args[0], torch.ones(3, 2))


class Returning(nn.Module):
    def __init__(self, outputs: Any) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self) -> Any:
        return self.outputs


def difference(before: Any, after: Any) -> tuple[float, float]:
    with recorded_calls(Returning(before)) as calls:
        Returning(before)()
    before = Returning(before)
    with recorded_calls(before) as calls:
        before()
    return largest_difference(Returning(after), calls)


def test_largest_difference_and_output_are_found_in_any_structure():
    before = {"a": torch.tensor([1.0, -4.0]), "b": [torch.tensor([2]), torch.empty(0), "text"]}
    after = {"a": torch.tensor([1.5, -3.75]), "b": [torch.tensor([2]), torch.empty(0), "text"]}
    assert difference(before, after) == (0.5, 4.0)
    with pytest.raises(ValueError, match=r"returns \(1,\) where the original returns \(2,\)"):
        difference(torch.ones(2), torch.ones(1))
    with pytest.raises(ValueError, match=r"returns str where the original returns \(2,\)"):
        difference(torch.ones(2), "text")
    with pytest.raises(ValueError, match="returns other whole numbers than the original"):
        difference(torch.tensor([1]), torch.tensor([2]))


def test_pipeline_that_annotates_too_much_differently_is_objected_to(nlp):
    part = Part("find", "m", difference=0.5, largest=10.0)
    settings = {"nlp": nlp, "original": nlp, "parts": (part,), "texts": (), "n_tokens": 200}
    differences = tuple(range(3))  # only their number matters
    few = Report(format="int8", differences=differences[:2], **settings)
    many = Report(format="int8", differences=differences, **settings)
    assert few.objection is None
    assert many.objection == ("3 annotations of 200 tokens (1.5%) are different, at most 1% may be")


def test_names_and_config_are_plain_json(nlp):
    exported = export_pipeline(nlp, "int8", texts=TEXTS).nlp
    shim = get_shim(exported.get_pipe("find").logits_model)
    assert shim.sizes["exported"] == {"layers": ["encoder.layers.1", "encoder.layers.2"]}
    assert json.loads(json.dumps(shim.sizes)) == shim.sizes


def test_default_classifier_becomes_an_onnx_graph():
    """Its pooling takes largest values, also of a document without tokens."""
    nlp = spacy.blank("en")
    pipe = nlp.add_pipe("torch_textcat")
    for label in ("short", "long"):
        pipe.add_label(label)
    nlp.initialize()
    texts = ["two words", "", "and one more of them", "."]
    report = export_pipeline(nlp, "onnx", texts=texts)
    (part,) = report.parts
    assert part.kept is None
    assert part.what == "a graph of the whole module"
    for found, expected in zip(report.nlp.pipe(texts), nlp.pipe(texts), strict=True):
        assert found.cats == pytest.approx(expected.cats, abs=1e-5)
