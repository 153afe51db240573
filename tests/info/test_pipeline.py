"""What is said of a pipeline, in memory and on disk."""

import shutil

import pytest
import spacy
import tiny_textcat
import torch
from tiny_encoder import ENCODER

from spacy_torch.bridge.model import find_shims
from spacy_torch.info.pipeline import (
    describe_loaded,
    describe_stored,
    find_folder,
    inspect_pipeline,
)

# The module of tiny_textcat: embeddings, a hidden layer, an output for two labels.
N_EMBEDDED = tiny_textcat.ROWS * 16
N_PARAMETERS = N_EMBEDDED + (16 * 16 + 16) + (16 * 2 + 2)


@pytest.fixture
def nlp():
    nlp = tiny_textcat.make_nlp()
    tiny_textcat.train(nlp, steps=1)
    return nlp


@pytest.fixture
def folder(nlp, tmp_path):
    nlp.to_disk(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def module_of(nlp):
    (shim,) = find_shims(nlp.get_pipe("torch_textcat").model)
    return shim.module


def test_numbers_of_a_module_are_counted(nlp):
    module = module_of(nlp)
    module.embed.weight.requires_grad_(False)
    module.register_buffer("seen", torch.zeros(3, dtype=torch.int64))
    (component,) = describe_loaded(nlp).components
    assert (component.name, component.factory) == ("torch_textcat", "torch_textcat")
    assert (component.architecture, component.encoder) == ("tests.Bag.v1", None)
    (found,) = component.modules
    assert (found.name, found.kind) == ("spacy-torch.Module.v1", "Bag")
    assert (found.n_trainable, found.n_frozen) == (N_PARAMETERS - N_EMBEDDED, N_EMBEDDED)
    assert found.n_buffers == 3
    assert found.dtypes == {"float32": N_PARAMETERS, "int64": 3}
    assert found.n_bytes == 4 * N_PARAMETERS + 8 * 3
    assert found.devices == ["cpu"]
    assert found.sizes == {"n_labels": 2}
    assert [(part.path, part.kind, part.n_parameters, part.n_frozen) for part in found.parts] == [
        ("", "Bag", N_PARAMETERS, N_EMBEDDED),
        ("embed", "EmbeddingBag", N_EMBEDDED, N_EMBEDDED),
        ("hidden", "Linear", 16 * 16 + 16, 0),
        ("dropout", "Dropout", 0, 0),
        ("output", "Linear", 16 * 2 + 2, 0),
    ]
    assert component.stored is None


def test_weights_that_are_used_twice_count_once(nlp):
    module = module_of(nlp)
    module.again = module.hidden
    ((found,),) = [component.modules for component in describe_loaded(nlp).components]
    assert found.n_trainable == N_PARAMETERS
    assert found.n_bytes == 4 * N_PARAMETERS


def test_stored_weights_are_those_of_the_loaded_module(folder):
    info = inspect_pipeline(folder)
    (component,) = info.components
    (weights,) = component.stored.weights
    assert (weights.file, weights.name) == ("model.safetensors", "spacy-torch.Module.v1")
    assert weights.n_elements == component.modules[0].n_trainable == N_PARAMETERS
    assert (weights.dtypes, weights.n_bytes) == ({"float32": N_PARAMETERS}, 4 * N_PARAMETERS)
    assert weights.versions["torch"] == torch.__version__
    assert weights.digests.keys() == module_of(spacy.load(folder)).state_dict().keys()
    files = [file for file in (folder / "torch_textcat").iterdir() if file.is_file()]
    assert component.stored.n_bytes == sum(file.stat().st_size for file in files)
    assert (info.problem, info.damaged, info.has_torch) == (None, [], True)
    assert info.name == "en_pipeline 0.0.0"


def test_digest_is_that_of_the_numbers_alone(nlp, folder, tmp_path):
    def digest(path):
        return describe_stored(path).components[0].stored.weights[0].digest

    textcat = nlp.get_pipe("torch_textcat")
    textcat.cfg["labels"].reverse()
    nlp.to_disk(tmp_path / "other_labels")
    assert digest(tmp_path / "other_labels") == digest(folder)
    with torch.no_grad():
        module_of(nlp).output.bias[0] += 1.0
    nlp.to_disk(tmp_path / "other_numbers")
    assert digest(tmp_path / "other_numbers") != digest(folder)


def test_stored_pipeline_is_described_without_its_code(folder):
    config = folder / "config.cfg"
    config.write_text(config.read_text().replace("tests.Bag.v1", "nobody.Has.v1"))
    info = inspect_pipeline(folder)
    assert "nobody.Has.v1" in info.problem
    (component,) = info.components
    assert component.architecture == "nobody.Has.v1"
    assert component.modules == []
    assert component.stored.weights[0].n_elements == N_PARAMETERS
    assert info.damaged == []


def test_encoder_of_its_own_and_a_shared_one_are_told_apart(tmp_path):
    nlp = spacy.blank("en")
    tok2vec = {"@architectures": "spacy-torch.Tok2Vec.v1", "encoder": ENCODER}
    listener = {"@architectures": "spacy.Tok2VecListener.v1", "width": 16}
    nlp.add_pipe("tok2vec", "vectors", config={"model": tok2vec})
    for name, inner in [("listening", listener), ("alone", tok2vec)]:
        model = {"@architectures": "spacy.Tagger.v2", "tok2vec": inner}
        nlp.add_pipe("tagger", name, config={"model": model}).add_label("A")
    from_listener = {"@torch_encoders": "spacy-torch.FromTok2Vec.v1", "tok2vec": listener}
    model = {"@architectures": "spacy-torch.TokenClassifier.v1", "encoder": from_listener}
    nlp.add_pipe("torch_tagger", "ours", config={"model": model}).add_label("A")
    nlp.initialize()
    nlp.to_disk(tmp_path)
    info = inspect_pipeline(tmp_path)
    assert info == describe_loaded(spacy.load(tmp_path), tmp_path)
    assert [(each.name, each.encoder, each.shares) for each in info.components] == [
        ("vectors", "spacy-torch.HashEmbedCNN.v1", None),
        ("listening", "spacy.Tok2VecListener.v1", "vectors"),
        ("alone", "spacy-torch.HashEmbedCNN.v1", None),
        ("ours", "spacy-torch.FromTok2Vec.v1", "vectors"),
    ]
    # What stock components keep of torch modules lies inside of Thinc's own file.
    files = [[weights.file for weights in each.stored.weights] for each in info.components]
    assert files == [["model"], [], ["model"], ["model.safetensors"]]
    n_vectors, n_alone = (info.components[place].modules[0].n_trainable for place in (0, 2))
    assert n_vectors == n_alone == info.components[2].stored.weights[0].n_elements
    softmax = 16 + 1  # one label
    assert [each.n_thinc for each in info.components] == [0, softmax, softmax, 0]
    stored = describe_stored(tmp_path)
    assert [each.n_thinc for each in stored.components] == [0, softmax, softmax, 0]
    assert [each.stored for each in stored.components] == [each.stored for each in info.components]


def test_pipeline_without_torch_modules_says_so(tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    textcat = nlp.add_pipe("textcat")
    textcat.add_label("A")
    textcat.add_label("B")
    nlp.initialize()
    nlp.to_disk(tmp_path)
    for info in (inspect_pipeline(tmp_path), describe_stored(tmp_path)):
        assert not info.has_torch
        assert [each.architecture for each in info.components] == [
            None,
            nlp.config["components"]["textcat"]["model"]["@architectures"],
        ]
        expected = sum(
            node.get_param(name).size for node in textcat.model.walk() for name in node.param_names
        )
        assert [each.n_thinc for each in info.components] == [0, expected]
        assert info.damaged == []


def test_module_in_the_wrapper_of_thinc_counts_too():
    nlp = tiny_textcat.make_nlp("textcat", model={"@architectures": "tests.ThincBag.v1"})
    nlp.initialize(lambda: tiny_textcat.make_examples(nlp))
    (component,) = describe_loaded(nlp).components
    (found,) = component.modules
    assert (found.kind, found.n_trainable) == ("Bag", N_PARAMETERS)


def test_pipeline_not_initialized_yet_has_no_modules():
    info = describe_loaded(tiny_textcat.make_nlp())
    assert info.components[0].modules == []
    assert not info.has_torch


def flip(file, position):
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("read", [inspect_pipeline, describe_stored])
def test_damaged_weights_are_named(folder, read):
    flip(folder / "torch_textcat" / "model.safetensors", -1)
    info = read(folder)
    (problem,) = info.damaged
    assert problem.startswith("torch_textcat/model.safetensors: ")
    assert "damaged: the bytes of tensors 'embed.weight', 'hidden" not in problem
    assert "do not match their digests" in problem
    assert (info.problem is not None) == (read is inspect_pipeline)


def test_damaged_file_of_thinc_is_named(folder):
    flip(folder / "torch_textcat" / "model", -1)
    (problem,) = describe_stored(folder).damaged
    assert problem.startswith("torch_textcat/model: WeightsError: damaged or cut short")


def test_damaged_model_of_a_stock_component_is_named(tmp_path):
    nlp = spacy.blank("en")
    textcat = nlp.add_pipe("textcat")
    textcat.add_label("A")
    textcat.add_label("B")
    nlp.initialize()
    nlp.to_disk(tmp_path)
    file = tmp_path / "textcat" / "model"
    file.write_bytes(file.read_bytes()[:-5])
    (problem,) = describe_stored(tmp_path).damaged
    assert problem.startswith("textcat/model: ValueError")
    file.write_bytes(b"\x01")  # a number
    (problem,) = describe_stored(tmp_path).damaged
    assert problem == "textcat/model: TypeError: expected a table, got int"


def test_missing_weights_are_named(folder):
    (folder / "torch_textcat" / "model.safetensors").unlink()
    info = inspect_pipeline(folder)
    assert info.damaged == ["torch_textcat/model.safetensors: the file is missing"]
    assert "model.safetensors is missing" in info.problem


def test_weights_of_another_save_are_named(nlp, folder, tmp_path):
    with torch.no_grad():
        module_of(nlp).output.bias[0] += 1.0
    nlp.to_disk(tmp_path / "later")
    place = "torch_textcat/model.safetensors"
    shutil.copy(tmp_path / "later" / place, folder / place)
    assert describe_stored(folder).damaged == [
        f"{place}: from another save than the file 'model' beside it"
    ]


def test_missing_pipeline_is_an_error_that_says_what_to_name(tmp_path):
    for name in (tmp_path, tmp_path / "missing", "no_such_package"):
        with pytest.raises(OSError, match=r"is neither an installed pipeline nor the folder of"):
            find_folder(name)
