"""What is saved comes back, or the error says by name what does not fit."""

import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spacy_torch.bridge import weights_bytes, weights_header
from spacy_torch.bridge.weights import (
    WeightsError,
    load_weights,
    read_header,
    read_layout,
    save_weights,
    weights_digest,
    weights_to_chunks,
)
from spacy_torch.bridge.weights_header import DTYPES

FACTS = {"name": "Classifier.v1", "sizes": {"n_labels": 2}, "info": {"labels": ["ja", "nö"]}}


def content(tensor: Tensor) -> bytes:
    # Bits rather than values: NaN equals itself, and -0.0 is not 0.0.
    whole = tensor.detach().resolve_conj().contiguous().reshape(-1)
    return whole.view(torch.uint8).numpy().tobytes()


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype, name
        assert left[name].shape == right[name].shape, name
        assert content(left[name]) == content(right[name]), name


def blank(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}


@st.composite
def any_tensor(draw: st.DrawFn) -> Tensor:
    dtype = draw(st.sampled_from(sorted(DTYPES.values(), key=str)))
    shape = draw(st.lists(st.integers(0, 5), max_size=3))
    n_bytes = torch.Size(shape).numel() * dtype.itemsize
    raw = torch.tensor(list(draw(st.binary(min_size=n_bytes, max_size=n_bytes))), dtype=torch.uint8)
    if dtype is torch.bool:
        raw = raw % 2
    tensor = raw.view(dtype).view(shape)
    # A transpose keeps the values and makes most shapes non-contiguous.
    return tensor.transpose(0, -1) if shape and draw(st.booleans()) else tensor


any_tensors = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8), any_tensor(), max_size=5
)


@settings(deadline=None, max_examples=150)
@given(
    tensors=any_tensors, slice_bytes=st.sampled_from([8, 16, 40]), chunk_bytes=st.integers(1, 300)
)
def test_any_tensors_come_back_whatever_the_slices_and_chunks(tensors, slice_bytes, chunk_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights_bytes, "SLICE_BYTES", slice_bytes)
        patch.setattr(weights_bytes, "CHUNK_BYTES", chunk_bytes)
        chunks = weights_to_chunks(tensors, **FACTS)
        loaded = blank(tensors)
        load_weights(chunks, loaded)
    assert max(map(len, chunks)) <= chunk_bytes
    assert_same(loaded, tensors)
    assert b"".join(chunks) == b"".join(weights_to_chunks(loaded, **FACTS))


def some_tensors() -> dict[str, Tensor]:
    return {
        "encoder.weight": torch.randn(3, 4).t(),
        "encoder.bias": nn.Parameter(torch.randn(3)),
        "scale": torch.tensor(0.5),
        "none": torch.zeros(0, 7),
        "half": torch.randn(5).bfloat16(),
        "seen": torch.tensor([True, False]),
        "steps": torch.tensor(3),
    }


def test_a_file_comes_back_with_its_header(tmp_path: Path):
    tensors, loaded = some_tensors(), blank(some_tensors())
    save_weights(tensors, tmp_path / "w.safetensors", **FACTS)
    header = load_weights(tmp_path / "w.safetensors", loaded, name="Classifier.v1")
    assert_same(loaded, tensors)
    assert header == read_header(str(tmp_path / "w.safetensors"))
    assert (header.name, header.sizes, header.info) == tuple(FACTS.values())
    assert header.versions["torch"] == torch.__version__
    assert header.digests.keys() == tensors.keys()


def test_a_file_and_its_chunks_are_the_same_bytes_in_any_order_of_tensors(tmp_path: Path):
    tensors = some_tensors()
    save_weights(tensors, tmp_path / "w.safetensors", **FACTS)
    backwards = dict(reversed(tensors.items()))
    assert weights_to_chunks(backwards, **FACTS) == [(tmp_path / "w.safetensors").read_bytes()]


def test_other_tools_can_read_the_file(tmp_path: Path):
    tensors = some_tensors()
    save_weights(tensors, tmp_path / "w.safetensors", **FACTS)
    assert_same(safetensors.torch.load_file(tmp_path / "w.safetensors"), tensors)


def test_a_file_of_another_tool_is_refused_with_a_way_out(tmp_path: Path):
    safetensors.torch.save_file({"weight": torch.ones(2)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"w\.safetensors: .*another tool.*load_model"):
        read_header(tmp_path / "w.safetensors")


def test_version_of_this_package_is_unknown_when_it_is_not_installed(monkeypatch):
    def missing(name: str) -> str:
        raise weights_header.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(weights_header.importlib.metadata, "version", missing)
    assert read_header(weights_to_chunks({}, **FACTS)).versions["spacy_torch"] == "unknown"


def test_tied_parameters_stay_tied():
    saved, loaded = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    saved.copy, loaded.copy = saved, loaded
    saved.tied, loaded.tied = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    saved.tied.weight, loaded.tied.weight = saved.weight, loaded.weight
    del saved.copy, loaded.copy
    load_weights(weights_to_chunks(saved.state_dict(), **FACTS), loaded.state_dict())
    assert loaded.tied.weight is loaded.weight
    assert loaded.weight.equal(saved.weight)


def test_different_weights_for_tied_parameters_are_an_error():
    shared = torch.zeros(2)
    chunks = weights_to_chunks({"a": torch.ones(2), "b": torch.zeros(2)}, **FACTS)
    with pytest.raises(WeightsError, match="'a' and 'b' are one in the module, but differ"):
        load_weights(chunks, {"a": shared, "b": shared})


def test_writing_into_a_parameter_moves_its_version_on():
    # Caches of what was computed from the weights watch this counter.
    module = nn.Linear(2, 2)
    before = module.weight._version
    load_weights(weights_to_chunks(module.state_dict(), **FACTS), module.state_dict())
    assert module.weight._version > before


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("wanted", [torch.bfloat16, torch.float16, torch.float32])
def test_floating_types_are_converted(stored: torch.dtype, wanted: torch.dtype):
    values, loaded = torch.randn(40).to(stored), torch.zeros(40, dtype=wanted)
    load_weights(weights_to_chunks({"x": values}, **FACTS), {"x": loaded})
    assert loaded.equal(values.to(wanted))


def test_values_too_large_for_the_wanted_type_are_an_error():
    loaded = torch.zeros(2, dtype=torch.float16)
    chunks = weights_to_chunks({"x": torch.tensor([1.0, 70000.0])}, **FACTS)
    with pytest.raises(WeightsError, match="tensors 'x' are too large"):
        load_weights(chunks, {"x": loaded})
    assert loaded.equal(torch.zeros(2, dtype=torch.float16))


def test_infinity_may_be_loaded_in_half_precision():
    loaded = torch.zeros(1, dtype=torch.float16)
    load_weights(weights_to_chunks({"x": torch.tensor([torch.inf])}, **FACTS), {"x": loaded})
    assert loaded.isinf().all()


@pytest.mark.parametrize("wanted", [torch.int64, torch.int16, torch.bool, torch.float32])
def test_other_types_are_not_converted(wanted: torch.dtype):
    chunks = weights_to_chunks({"x": torch.ones(2, dtype=torch.int32)}, **FACTS)
    with pytest.raises(WeightsError, match=f"'x' has type torch.int32, the module needs {wanted}"):
        load_weights(chunks, {"x": torch.ones(2, dtype=wanted)})


def test_all_differences_are_named_at_once_and_nothing_is_loaded():
    chunks = weights_to_chunks(
        {"a": torch.ones(2), "b": torch.ones(3), "c": torch.ones(1)}, **FACTS
    )
    module = {"a": torch.zeros(2), "b": torch.zeros(4), "d": torch.zeros(1)}
    with pytest.raises(WeightsError) as caught:
        load_weights(chunks, module)
    assert str(caught.value) == (
        "missing from the weights: 'd'; in the weights but not in the module: 'c'; "
        "tensor 'b' has shape [3], the module needs [4]. Build the module as it was when the "
        "weights were saved (the same [model] block and code), or train it anew"
    )
    assert not any(tensor.any() for tensor in module.values())


def test_many_differences_are_cut_at_ten():
    chunks = weights_to_chunks({f"t{i:02}": torch.ones(1) for i in range(13)}, **FACTS)
    with pytest.raises(
        WeightsError,
        match=r"in the module: 't00', .* 't09' and 3 more\. Build the module as it was",
    ):
        load_weights(chunks, {})


@pytest.mark.parametrize(
    ("stored", "wanted", "hint"),
    [
        ("_orig_mod.head.weight", "head.weight", r"'_orig_mod\.', which torch\.compile adds"),
        ("head._orig_mod.weight", "head.weight", r"'_orig_mod\.', which torch\.compile adds"),
        ("head.weight", "module.head.weight", r"'module\.', which a data-parallel wrapper adds"),
        ("model.weight", "weight", r"names in the weights only have 'model\.' in front"),
        ("weight", "model.weight", r"names in the module only have 'model\.' in front"),
    ],
)
def test_a_prefix_is_recognised(stored: str, wanted: str, hint: str):
    chunks = weights_to_chunks({stored: torch.ones(1)}, **FACTS)
    with pytest.raises(WeightsError, match=hint):
        load_weights(chunks, {wanted: torch.ones(1)})


def test_weights_of_another_architecture_are_refused():
    chunks = weights_to_chunks({}, **FACTS)
    with pytest.raises(WeightsError, match=r"weights of 'Classifier\.v1', not of 'Tagger\.v1'"):
        load_weights(chunks, {}, name="Tagger.v1")


def test_swapped_files_are_refused(tmp_path: Path):
    tagger, parser = nn.Linear(3, 2), nn.Linear(2, 3)
    save_weights(tagger.state_dict(), tmp_path / "tagger", **FACTS)
    save_weights(parser.state_dict(), tmp_path / "parser", **FACTS)
    with pytest.raises(WeightsError, match=r"tagger: tensor 'bias' has shape \[2\], .* \[3\]"):
        load_weights(tmp_path / "tagger", parser.state_dict())


def test_an_expanded_tensor_cannot_be_loaded_into():
    chunks = weights_to_chunks({"x": torch.ones(3)}, **FACTS)
    with pytest.raises(WeightsError, match="'x' is expanded in the module"):
        load_weights(chunks, {"x": torch.zeros(1).expand(3)})


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (torch.zeros(1, device="meta"), "holds no data yet: initialize"),
        (nn.LazyLinear(2).weight, "holds no data yet: initialize"),
        (
            torch.zeros(2).to_sparse(),
            "is torch.float32 with layout torch.sparse_coo, which safetensors cannot hold",
        ),
        (torch.zeros(1, dtype=torch.complex128), "is torch.complex128"),
        ("state", "is not a tensor but str"),
    ],
)
def test_a_tensor_that_cannot_be_saved_is_named(tensor: object, problem: str, tmp_path: Path):
    with pytest.raises(WeightsError, match=f"tensor 'x' {problem}"):
        save_weights({"x": tensor}, tmp_path / "w.safetensors", **FACTS)
    assert os.listdir(tmp_path) == []


def test_the_reserved_name_cannot_be_saved():
    with pytest.raises(WeightsError, match="name that safetensors keeps for itself"):
        weights_to_chunks({"__metadata__": torch.ones(1)}, **FACTS)


@pytest.mark.parametrize("info", [{"x": object()}, {"x": float("nan")}, {1: 2, "x": 3}])
def test_facts_that_are_not_json_are_refused(info: dict):
    with pytest.raises(WeightsError, match="must be plain JSON values"):
        weights_to_chunks({}, name="X", sizes={}, info=info)


def test_too_many_facts_are_refused(monkeypatch):
    monkeypatch.setattr(weights_header, "MAX_HEADER_BYTES", 1000)
    with pytest.raises(WeightsError, match="at most 1000 fit in the header"):
        weights_to_chunks({}, name="X", sizes={}, info={"labels": ["label"] * 1000})


def test_a_missing_file_is_a_missing_file(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_header(tmp_path / "nowhere")


@pytest.mark.parametrize("source", [b"bytes", None, 3, {"a": b""}])
def test_what_is_neither_path_nor_pieces_is_refused(source: object):
    with pytest.raises(WeightsError, match=f"list of bytes, got {type(source).__name__}"):
        read_header(source)


def test_pieces_that_are_not_bytes_are_refused():
    with pytest.raises(WeightsError, match="piece 1 of the weights is not bytes but str"):
        read_header([b"", "text"])


def test_an_error_can_be_put_in_a_context():
    assert str(WeightsError("damaged").within("component 'x'")) == "component 'x': damaged"


def test_layout_of_a_file_says_where_its_tensors_lie(tmp_path):
    tensors = {"b": torch.tensor([1.0, 2.0]), "a": torch.tensor([3, 4, 5])}
    save_weights(tensors, tmp_path / "w", name="n", sizes={}, info={})
    layout = read_layout(tmp_path / "w", check=True)
    content = (tmp_path / "w").read_bytes()
    for name, tensor in tensors.items():
        place = layout.places[name]
        data = content[layout.data_start + place.start : layout.data_start + place.stop]
        assert torch.frombuffer(bytearray(data), dtype=place.dtype).equal(tensor)


def test_digest_of_weights_is_that_of_names_and_tensors_alone(tmp_path):
    def digest(tensors, **header):
        save_weights(tensors, tmp_path / "w", **{"name": "n", "sizes": {}, "info": {}, **header})
        return weights_digest(read_layout(tmp_path / "w").header)

    tensors = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0])}
    reversed_ = dict(reversed(tensors.items()))
    assert digest(tensors) == digest(reversed_, name="m", sizes={"n": 1}, info={"labels": ["x"]})
    assert digest(tensors) != digest({"a": tensors["b"], "b": tensors["a"]})
    assert digest(tensors) != digest({**tensors, "b": torch.tensor([3.5])})


def test_layout_of_damaged_tensors_is_read_unless_they_are_checked(tmp_path):
    save_weights({"a": torch.ones(3)}, tmp_path / "w", name="n", sizes={}, info={})
    content = bytearray((tmp_path / "w").read_bytes())
    content[-1] ^= 1
    (tmp_path / "w").write_bytes(content)
    assert read_layout(tmp_path / "w").places["a"].shape == (3,)
    with pytest.raises(WeightsError, match="the bytes of tensors 'a' do not match their digests"):
        read_layout(tmp_path / "w", check=True)
