"""Saved components that are incomplete, damaged or mixed up: what the error then says."""

import shutil
from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from tiny_textcat import make_examples, make_nlp, predict, train

from spacy_torch.bridge import weights
from spacy_torch.bridge.model import get_shim
from spacy_torch.bridge.weights import WeightsError

NAME = "torch_textcat"


def make_trained() -> Language:
    nlp = make_nlp()
    train(nlp)
    return nlp


def make_with_labels(*labels: str) -> Language:
    nlp = make_nlp()
    nlp.initialize(lambda: make_examples(nlp, ["good", "bad", *labels]))
    return nlp


def save_two(tmp_path: Path) -> tuple[Path, Path]:
    first, second = make_trained(), make_with_labels("ugly")
    first.to_disk(tmp_path / "first")
    second.to_disk(tmp_path / "second")
    return tmp_path / "first" / NAME, tmp_path / "second" / NAME


def test_weights_of_a_component_with_other_labels_are_refused(tmp_path):
    first, second = save_two(tmp_path)
    shutil.copy(first / "model.safetensors", second / "model.safetensors")
    message = (
        r"Component 'torch_textcat', file .*model.safetensors: the weights were saved with the "
        r"labels \['good', 'bad'\], but the cfg beside them has \['good', 'bad', 'ugly'\]: the"
    )
    with pytest.raises(WeightsError, match=message):
        spacy.load(tmp_path / "second")
    with pytest.raises(WeightsError) as caught:
        spacy.load(tmp_path / "second")
    assert str(caught.value).count(str(second / "model.safetensors")) == 1


def test_bytes_with_weights_of_other_labels_are_refused():
    first, second = make_trained().get_pipe(NAME), make_with_labels("ugly").get_pipe(NAME)
    message = r"'torch_textcat': the weights were saved with the labels \['good', 'bad'\], but"
    data = first.to_bytes(exclude=["vocab", "cfg"])
    with pytest.raises(WeightsError, match=message):
        second.from_bytes(data, exclude=["vocab", "cfg"])
    assert second.labels == ("good", "bad", "ugly")


def mix_up_weights(first: Path, second: Path) -> None:
    shutil.copy(first / "model.safetensors", second / "model.safetensors")


def lose_weights(first: Path, second: Path) -> None:
    (second / "model.safetensors").unlink()


def damage_model(first: Path, second: Path) -> None:
    (second / "model").write_bytes(b"")


@pytest.mark.parametrize("damage", [mix_up_weights, lose_weights, damage_model])
def test_component_works_on_when_it_cannot_be_loaded_anew(damage, tmp_path):
    damage(*save_two(tmp_path))
    nlp = make_trained()
    before, cfg = predict(nlp), dict(nlp.get_pipe(NAME).cfg)
    with pytest.raises(WeightsError):
        nlp.get_pipe(NAME).from_disk(tmp_path / "second" / NAME, exclude=["vocab"])
    assert nlp.get_pipe(NAME).cfg == cfg
    assert predict(nlp) == before


def test_labels_of_another_pipeline_are_refused_without_its_weights(tmp_path):
    _, second = save_two(tmp_path)
    component = make_trained().get_pipe(NAME)
    with pytest.raises(WeightsError, match=r"the cfg beside them has \['good', 'bad', 'ugly'\]"):
        component.from_disk(second, exclude=["vocab", "model"])
    assert component.labels == ("good", "bad")


def test_missing_weights_file_says_what_to_copy(tmp_path):
    first, _ = save_two(tmp_path)
    (first / "model.safetensors").unlink()
    message = r"'torch_textcat': the weights file .*model.safetensors is missing; copy it from"
    with pytest.raises(WeightsError, match=message):
        spacy.load(tmp_path / "first")


def test_missing_model_file_is_named_with_its_component(tmp_path):
    first, _ = save_two(tmp_path)
    (first / "model").unlink()
    with pytest.raises(WeightsError, match=r"'torch_textcat', file .*model: .*No such file"):
        spacy.load(tmp_path / "first")


def test_half_a_cfg_file_is_named_with_its_component(tmp_path):
    first, _ = save_two(tmp_path)
    text = (first / "cfg").read_text()
    (first / "cfg").write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=r"'torch_textcat', file .*cfg: not valid JSON"):
        spacy.load(tmp_path / "first")


def test_weights_of_another_architecture_are_named_tensor_by_tensor(tmp_path):
    first, _ = save_two(tmp_path)
    shim = get_shim(make_trained().get_pipe(NAME).logits_model)
    renamed = {f"new.{name}": tensor for name, tensor in shim.module.state_dict().items()}
    weights.save_weights(
        renamed, first / "model.safetensors", name=shim.name, sizes=shim.sizes, info=shim.info
    )
    message = r"'torch_textcat', file .*model.safetensors: .*'embed.weight'.*'new.embed.weight'"
    with pytest.raises(WeightsError, match=message) as caught:
        spacy.load(tmp_path / "first")
    assert str(caught.value).count("model.safetensors") == 1


def test_damaged_bytes_are_named_with_their_component():
    nlp = make_trained()
    data = bytearray(nlp.get_pipe(NAME).to_bytes(exclude=["vocab"]))
    place = bytes(data).index(b"sha256:") + 20  # inside the header of the weights
    data[place] ^= 1
    with pytest.raises(
        WeightsError, match=r"Component 'torch_textcat': the weights of .*: damaged"
    ):
        make_nlp().get_pipe(NAME).from_bytes(bytes(data), exclude=["vocab"])
