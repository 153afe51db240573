"""A packaged pipeline asks for the extras that its components need."""

import importlib
from pathlib import Path

import numpy
import pytest
import spacy
import srsly
from spacy.language import Language
from spacy.training import Example
from tiny_encoder import ENCODER
from tiny_transformer import WIDTH, make_transformer

import spacy_torch
from spacy_torch import set_picture

# The name `spacy.cli.package` is that of the command.
PACKAGE = importlib.import_module("spacy.cli.package")
PICTURES = {
    "@architectures": "spacy-torch.ImageClassifier.v1",
    "exclusive_classes": True,
    "encoder": {"@torch_encoders": "spacy-torch.ImageCNN.v1", "size": 32, "width": 16},
}
OURS = f">={spacy_torch.__version__},<0.2.0"


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = make_transformer(tmp_path_factory.mktemp("transformer"))
    name = "spacy-torch.HFTransformer.v1"
    return {"@torch_encoders": name, "name": str(folder), "width": WIDTH}


def initialize(nlp: Language) -> None:
    example = Example.from_dict(nlp.make_doc("a fish"), {"tags": ["DT", "NN"]})
    nlp.initialize(lambda: [example])


def packaged(nlp: Language, folder: Path) -> list[str]:
    """The requirements that `spacy package` writes into the package's meta."""
    nlp.to_disk(folder)
    meta = srsly.read_json(folder / "meta.json")
    return PACKAGE.get_meta(folder, meta)["requirements"]


def test_pipeline_with_a_transformer_requires_the_extra(transformer, tmp_path):
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": transformer}
    nlp.add_pipe("torch_tagger", config={"model": model})
    for _ in range(2):
        initialize(nlp)
    assert packaged(nlp, tmp_path) == [f"spacy-torch[transformers]{OURS}"]


def test_transformer_of_a_shared_tok2vec_counts(transformer, tmp_path):
    nlp = spacy.blank("en")
    tok2vec = {"@architectures": "spacy-torch.Tok2Vec.v1", "encoder": transformer}
    nlp.add_pipe("tok2vec", config={"model": tok2vec})
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": WIDTH, "upstream": "*"}
    encoder = {
        "@torch_encoders": "spacy-torch.FromTok2Vec.v1",
        "tok2vec": listener,
    }
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": encoder}
    nlp.add_pipe("torch_tagger", config={"model": model})
    initialize(nlp)
    assert packaged(nlp, tmp_path) == [f"spacy-torch[transformers]{OURS}"]


def test_what_the_user_requires_stays(transformer):
    nlp = spacy.blank("en")
    nlp.meta["requirements"] = ["left-pad", "spacy-torch[transformers]==0.1.0"]
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": transformer}
    nlp.add_pipe("torch_tagger", config={"model": model})
    initialize(nlp)
    assert nlp.meta["requirements"] == ["left-pad", "spacy-torch[transformers]==0.1.0"]


def test_other_pipelines_require_no_extra(tmp_path):
    nlp = spacy.blank("en")
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": ENCODER}
    nlp.add_pipe("torch_tagger", config={"model": model})
    initialize(nlp)
    assert packaged(nlp, tmp_path) == [f"spacy-torch{OURS}"]


def test_pipeline_of_pictures_requires_the_extra_that_reads_them(tmp_path):
    block = {"@tokenizers": "spacy-torch.ImageTokenizer.v1"}
    for nlp in (spacy.blank("image"), spacy.blank("en", config={"nlp": {"tokenizer": block}})):
        nlp.add_pipe("torch_textcat", config={"model": PICTURES})
        doc = nlp.make_doc("a.png")
        set_picture(doc, numpy.zeros((4, 4, 3), dtype="uint8"))
        example = Example.from_dict(doc, {"cats": {"a": 1.0, "b": 0.0}})
        nlp.initialize(lambda example=example: [example])
        assert f"spacy-torch[images]{OURS}" in packaged(nlp, tmp_path / nlp.lang)
