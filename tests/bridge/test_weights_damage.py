"""Damaged, cut and hostile weights are refused, and the module stays as it was."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spacy_torch.bridge.weights import (
    WeightsError,
    load_weights,
    read_header,
    save_weights,
    weights_to_chunks,
)
from spacy_torch.bridge.weights_header import MAX_HEADER_BYTES

TENSORS = {
    "bias": torch.tensor([1.0, -2.0]),
    "weight": torch.tensor([[0.5, 1.5], [2.5, 3.5]]),
    "half": torch.tensor([0.25, 4.0]).half(),
    "steps": torch.tensor(7),
}
CHUNKS = weights_to_chunks(
    TENSORS, name="Classifier.v1", sizes={"n_labels": 2}, info={"labels": ["yes", "no"]}
)
WHOLE = b"".join(CHUNKS)
HEADER_END = 8 + int.from_bytes(WHOLE[:8], "little")


def blank() -> dict[str, Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in TENSORS.items()}


def assert_refused_or_unchanged(data: bytes) -> None:
    module = blank()
    try:
        header = load_weights([data], module)
    except WeightsError:
        assert not any(tensor.any() for tensor in module.values())
    else:
        assert all(module[name].equal(tensor) for name, tensor in TENSORS.items())
        assert header == read_header(CHUNKS)


def table(data: bytes = WHOLE) -> dict:
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def file_of(header: object, data: bytes = b"") -> list[bytes]:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return [len(text).to_bytes(8, "little"), text, data]


def with_entry(**changes: object) -> list[bytes]:
    changed = table()
    fields = json.loads(changed["__metadata__"]["spacy_torch"]) | changes
    return signed({name: value for name, value in fields.items() if value is not ...})


def signed(entry: object) -> list[bytes]:
    changed = table()
    text = entry if isinstance(entry, str) else json.dumps(entry)
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    changed["__metadata__"] = {"spacy_torch": text, "spacy_torch_sha256": digest}
    return file_of(changed, WHOLE[HEADER_END:])


def test_the_undamaged_file_loads_when_put_together_again():
    assert read_header(with_entry()) == read_header(CHUNKS)


def test_a_changed_byte_anywhere_is_refused_or_changes_nothing():
    for position in range(len(WHOLE)):
        damaged = bytearray(WHOLE)
        damaged[position] ^= 1 << (position % 8)
        assert_refused_or_unchanged(bytes(damaged))


@settings(deadline=None, max_examples=300)
@given(
    position=st.integers(0, len(WHOLE) - 1),
    removed=st.integers(0, 20),
    added=st.binary(max_size=20),
)
def test_any_splice_is_refused_or_changes_nothing(position: int, removed: int, added: bytes):
    assert_refused_or_unchanged(WHOLE[:position] + added + WHOLE[position + removed :])


def test_a_changed_byte_in_a_tensor_names_file_and_tensor(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    save_weights(TENSORS, path, name="X", sizes={}, info={})
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1  # the narrowest type lies last: float16
    path.write_bytes(damaged)
    with pytest.raises(WeightsError, match=r"model\.safetensors: damaged: .* tensors 'half' do"):
        load_weights(path, blank())


def test_a_changed_label_is_refused():
    with pytest.raises(WeightsError, match="entry .sizes, labels. does not match its digest"):
        read_header([WHOLE.replace(b"yes", b"yet")])


def test_every_truncation_is_refused(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    for length in range(len(WHOLE)):
        path.write_bytes(WHOLE[:length])
        with pytest.raises(WeightsError, match=r"model\.safetensors: .*cut short"):
            load_weights(path, blank())


def test_bytes_after_the_end_are_refused():
    with pytest.raises(WeightsError, match="5 more bytes follow"):
        load_weights([WHOLE, b"extra"], blank())


def test_swapped_pieces_are_refused():
    middle = len(WHOLE) // 2
    with pytest.raises(WeightsError):
        load_weights([WHOLE[middle:], WHOLE[:middle]], blank())


def test_a_pickle_is_refused_and_not_run(tmp_path: Path):
    torch.save(TENSORS, tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=r"model\.pt: not a safetensors file"):
        load_weights(tmp_path / "model.pt", blank())


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ([], "0 bytes, at least 8 needed"),
        ([b"\xff" * 8], f"header of {2**64 - 1} bytes, at most {MAX_HEADER_BYTES}"),
        ([(MAX_HEADER_BYTES + 1).to_bytes(8, "little"), b"{}"], "not a safetensors file"),
        ([(100).to_bytes(8, "little"), b"{}"], "should end at byte 108, there are 10"),
        (file_of(b"\xff\xfe"), "not UTF-8"),
        (file_of(b"{"), "not valid JSON"),
        (file_of(b"[]"), "not a JSON table"),
        (file_of(b"[" * 200_000), "not valid JSON"),
        (file_of(b'{"a":' * 200_000), "not valid JSON"),
        (file_of(b'{"a": ' + b"9" * 10_000 + b"}"), "not valid JSON|another tool"),
        (file_of(b'{"a": NaN}'), "NaN is not JSON"),
        (file_of(b'{"a": 1, "a": 2}'), "the same key twice"),
        (file_of({}), "another tool"),
        (file_of({"__metadata__": 3}), "__metadata__ is not a table"),
        (file_of({"__metadata__": {"format": "pt"}}), "another tool"),
        (file_of({"__metadata__": {"spacy_torch": "{}"}}), "does not match its digest"),
        (file_of({"__metadata__": {"spacy_torch": 3}}), "does not match its digest"),
        (signed("[]"), "'spacy_torch' entry is not a JSON table"),
        (signed("{"), "'spacy_torch' entry is not valid JSON"),
        (with_entry(format_version=2), "format 2 is newer than the 1 .* upgrade spacy-torch"),
        (with_entry(format_version="1"), "format_version must be a number, got '1'"),
        (with_entry(format_version=True), "format_version must be a number, got True"),
        (with_entry(format_version=...), "format_version must be a number, got None"),
        (with_entry(sizes={"n_labels": "2"}), "unknown fields: 'sizes'"),
        (with_entry(sizes={"n_labels": True}), "unknown fields: 'sizes'"),
        (with_entry(info=[]), "unknown fields: 'info'"),
        (with_entry(name=...), "unknown fields: 'name'"),
        (with_entry(digests={"bias": "md5:0"}), "unknown fields: 'digests'"),
        (with_entry(__class__="os.system", versions=3), "fields: '__class__', 'versions'"),
        (with_entry(digests={}), "digests are not for the tensors it lists, .* 'bias', 'half'"),
    ],
)
def test_a_hostile_header_is_refused(source: Sequence[bytes], problem: str):
    with pytest.raises(WeightsError, match=problem):
        read_header(source)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"dtype": "F32"}, "no fitting dtype, shape and data_offsets"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 8], "x": 1}, "no fitting"),
        ({"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}, "no fitting"),
        ({"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}, "no fitting"),
        ({"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}, "no fitting"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4, 8]}, "no fitting"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}, "no fitting"),
        ({"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 8]}, "no fitting"),
        ({"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}, "no fitting"),
        ({"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}, "type 'F99'"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}, "should start at byte"),
        (
            {"dtype": "F32", "shape": [2], "data_offsets": [2**40, 2**40 + 8]},
            "should start at byte",
        ),
        ({"dtype": "F32", "shape": [2**40], "data_offsets": [8, 8 + 2**42]}, "cut short in"),
        ("row", "no fitting"),
    ],
)
def test_a_hostile_tensor_row_is_refused(row: object, problem: str):
    changed = table()
    changed["bias"] = row
    with pytest.raises(WeightsError, match=problem):
        read_header(file_of(changed, WHOLE[HEADER_END:]))


def test_overlapping_tensors_are_refused():
    changed = table()
    changed["bias"]["data_offsets"] = changed["half"]["data_offsets"]
    with pytest.raises(WeightsError, match="no fitting dtype, shape"):
        read_header(file_of(changed, WHOLE[HEADER_END:]))
    changed = table()
    changed["bias"]["data_offsets"] = [8 + start for start in (0, 8)]
    changed["weight"]["data_offsets"] = [8, 24]
    with pytest.raises(WeightsError, match="should start at byte"):
        read_header(file_of(changed, WHOLE[HEADER_END:]))


@settings(deadline=None, max_examples=200)
@given(position=st.integers(8, HEADER_END - 1), byte=st.integers(0, 255))
def test_whatever_header_is_accepted_the_safetensors_library_accepts_too(position: int, byte: int):
    changed = bytearray(WHOLE)
    changed[position] = byte
    try:
        read_header([bytes(changed)])
    except WeightsError:
        return
    assert safetensors.torch.load(bytes(changed)).keys() == TENSORS.keys()
