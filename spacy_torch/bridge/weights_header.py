"""The header of a weights file: which tensors it holds, where, and what they are for.

The format is safetensors: eight bytes of header length, a JSON header, the tensors
one after the other. Our own facts are one JSON string in its `__metadata__`, with a
digest of that string, so that any safetensors reader opens the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, NoReturn, cast

import torch
from torch import Tensor

FORMAT_VERSION = 1
ENTRY = "spacy_torch"
ENTRY_DIGEST = "spacy_torch_sha256"
LENGTH_BYTES = 8
# Room for about half a million labels. A JSON text can need 20 times its size as Python
# objects, so the 100 MB that the safetensors library allows would let a small hostile
# file take gigabytes of memory.
MAX_HEADER_BYTES = 32 * 1024 * 1024
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
RESTORE = "Restore the file from where it came from"
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


class WeightsError(ValueError):
    """Weights that cannot be saved, or loaded into this module; the message names what is wrong."""

    def within(self, context: str) -> WeightsError:
        """The same error with a context in front, such as the component, to raise from this one."""
        return WeightsError(f"{context}: {self}")


@dataclasses.dataclass(frozen=True)
class Header:
    """What travels with the weights.

    `sizes` rebuilds the module: numbers, and tables where one number does not say it.
    `info` is JSON of the owner's (labels), `name` says what the weights belong to,
    `digests` holds `"sha256:..."` for each tensor.
    """

    name: str
    sizes: Mapping[str, Any]
    info: Mapping[str, Any]
    versions: Mapping[str, str]
    digests: Mapping[str, str]
    format_version: int = FORMAT_VERSION


class TensorPlace(NamedTuple):
    """One tensor's type and its bytes, counted from the end of the header."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


class Layout(NamedTuple):
    """A whole header as read: our facts, each tensor's place, and where the tensors begin.

    `digest` is that of the header's bytes, and so, through the tensors' own, of everything.
    """

    header: Header
    places: dict[str, TensorPlace]
    data_start: int
    digest: str


class TensorDigest:
    """The digest of a tensor whose bytes come in slices: of its type, shape and bytes."""

    def __init__(self, place: TensorPlace) -> None:
        kind = f"{DTYPE_NAMES[place.dtype]} {list(place.shape)} "
        self._hash = hashlib.sha256(kind.encode())

    def update(self, data: memoryview) -> None:
        """Take in the next bytes."""
        self._hash.update(data)

    def text(self) -> str:
        """The digest as the header holds it."""
        return f"sha256:{self._hash.hexdigest()}"


def current_versions() -> dict[str, str]:
    """The versions of torch and of this package, for `Header.versions`."""
    try:
        ours = importlib.metadata.version("spacy-torch")
    except importlib.metadata.PackageNotFoundError:
        ours = "unknown"
    return {"torch": str(torch.__version__), "spacy_torch": ours}


def place_tensors(tensors: Mapping[str, Tensor]) -> dict[str, TensorPlace]:
    """Put tensors one after the other, the same way whatever their order in the mapping.

    Wide element types come first, so that every tensor is aligned to its elements.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    places: dict[str, TensorPlace] = {}
    start = 0
    for name in order:
        tensor = tensors[name]
        stop = start + tensor.numel() * tensor.element_size()
        places[name] = TensorPlace(tensor.dtype, tuple(tensor.shape), start, stop)
        start = stop
    return places


def encode_header(header: Header, places: Mapping[str, TensorPlace]) -> bytes:
    """The bytes in front of the tensors; their number does not depend on the digests' values.

    Raises:
        WeightsError: If `sizes` or `info` is not JSON, or the header would be too large.
    """
    try:
        entry = _dump_json(dataclasses.asdict(header))
    except (TypeError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"sizes and info must be plain JSON values to be saved with the weights: {error}"
        ) from error
    table: dict[str, Any] = {
        name: {
            "dtype": DTYPE_NAMES[place.dtype],
            "shape": list(place.shape),
            "data_offsets": [place.start, place.stop],
        }
        for name, place in places.items()
    }
    table["__metadata__"] = {ENTRY: entry, ENTRY_DIGEST: _text_digest(entry)}
    encoded = _dump_json(table).encode()
    encoded += b" " * (-len(encoded) % LENGTH_BYTES)
    if len(encoded) > MAX_HEADER_BYTES:
        raise WeightsError(
            f"sizes, info and tensor names take {len(encoded)} bytes, at most "
            f"{MAX_HEADER_BYTES} fit in the header: keep large tables out of info"
        )
    return len(encoded).to_bytes(LENGTH_BYTES, "little") + encoded


def decode_header(read: Callable[[int, int], bytes], *, size: int) -> Layout:
    """Read and check everything in front of the tensors.

    Args:
        read: Gives the bytes from a start to a stop.
        size: How many bytes there are in all.

    Raises:
        WeightsError: If this is not a whole weights file that this version can read.
    """
    if size < LENGTH_BYTES:
        raise WeightsError(
            f"not a safetensors file, or cut short: {size} bytes, at least {LENGTH_BYTES} needed. "
            f"{RESTORE}"
        )
    length = int.from_bytes(read(0, LENGTH_BYTES), "little")
    if length > MAX_HEADER_BYTES:
        raise WeightsError(
            f"not a safetensors file: its first 8 bytes give a header of {length} bytes, "
            f"at most {MAX_HEADER_BYTES} are allowed. {RESTORE}"
        )
    data_start = LENGTH_BYTES + length
    if data_start > size:
        raise WeightsError(
            f"not a safetensors file, or cut short: the header should end at byte {data_start}, "
            f"there are {size} bytes. {RESTORE}"
        )
    try:
        text = read(LENGTH_BYTES, data_start).decode()
    except UnicodeDecodeError as error:
        raise WeightsError(f"the safetensors header is not UTF-8: {error}. {RESTORE}") from error
    table = _load_object(text, what="the safetensors header")
    header = _read_entry(table.pop("__metadata__", {}))
    places = {name: _read_place(name, row) for name, row in table.items()}
    _check_tiling(places, data_bytes=size - data_start)
    if header.digests.keys() != places.keys():
        raise WeightsError(
            "damaged header: its digests are not for the tensors it lists, they differ in "
            f"{list_names(header.digests.keys() ^ places.keys())}. {RESTORE}"
        )
    return Layout(header, places, data_start, header_digest(text.encode()))


def header_digest(encoded: bytes) -> str:
    """The digest of a header's JSON, without the length in front of it."""
    return hashlib.sha256(encoded).hexdigest()


def weights_digest(header: Header) -> str:
    """One digest of all tensors, from those of each: the same for the same tensors and names.

    Sizes, labels and versions have no part in it.
    """
    return _text_digest(_dump_json(dict(header.digests)))


def list_names(names: set[str]) -> str:
    """Names for a message, quoted and sorted, the first ten of them."""
    shown = ", ".join(repr(name) for name in sorted(names)[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"


def _read_entry(metadata: object) -> Header:
    if not isinstance(metadata, dict):
        raise WeightsError(f"damaged header: __metadata__ is not a table. {RESTORE}")
    entry, digest = (cast(dict[str, object], metadata).get(key) for key in (ENTRY, ENTRY_DIGEST))
    if entry is None and digest is None:
        raise WeightsError(
            f"a safetensors file made by another tool: its __metadata__ has no {ENTRY!r} entry, "
            "so sizes, labels and digests are unknown. To use these weights, load them into the "
            "torch module with safetensors.torch.load_model() and save the pipeline again"
        )
    if not isinstance(entry, str) or _text_digest(entry) != digest:
        raise WeightsError(
            f"damaged header: the {ENTRY!r} entry (sizes, labels) does not match its digest. "
            f"{RESTORE}"
        )
    fields = _load_object(entry, what=f"the {ENTRY!r} entry")
    version = fields.get("format_version")
    if not _is_count(version):
        raise WeightsError(
            f"damaged header: format_version must be a number, got {version!r:.80}. {RESTORE}"
        )
    if cast(int, version) > FORMAT_VERSION:
        raise WeightsError(
            f"weights format {version} is newer than the {FORMAT_VERSION} that this version of "
            "spacy-torch reads: upgrade spacy-torch"
        )
    problems = [name for name, is_right in _FIELD_CHECKS.items() if not is_right(fields.get(name))]
    if problems or fields.keys() != {*_FIELD_CHECKS, "format_version"}:
        unknown = fields.keys() - {*_FIELD_CHECKS, "format_version"}
        raise WeightsError(
            "damaged header: missing, misshapen or unknown fields: "
            f"{list_names({*problems, *unknown})}. {RESTORE}"
        )
    return Header(**fields)


def _read_place(name: str, row: object) -> TensorPlace:
    if isinstance(row, dict) and row.keys() == {"dtype", "shape", "data_offsets"}:
        fields = cast(dict[str, Any], row)
        dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
        right_types = isinstance(dtype, str) and _are_counts(shape) and _are_counts(offsets)
        if right_types and dtype not in DTYPES:
            raise WeightsError(f"tensor {name!r} has type {dtype!r:.80}, which torch cannot hold")
        if right_types and len(offsets) == 2:
            place = TensorPlace(DTYPES[dtype], tuple(shape), offsets[0], offsets[1])
            if place.stop - place.start == math.prod(place.shape) * place.dtype.itemsize:
                return place
    raise WeightsError(
        f"damaged header: tensor {name!r} has no fitting dtype, shape and data_offsets: "
        f"{row!r:.200}. {RESTORE}"
    )


def _check_tiling(places: Mapping[str, TensorPlace], *, data_bytes: int) -> None:
    reached = 0
    for name, place in sorted(places.items(), key=lambda item: item[1][2:]):
        if place.start != reached:
            raise WeightsError(
                f"damaged header: tensor {name!r} should start at byte {reached} of the data, "
                f"but starts at {place.start}. {RESTORE}"
            )
        if place.stop > data_bytes:
            raise WeightsError(
                f"cut short in tensor {name!r}: it ends at byte {place.stop} of the data, "
                f"there are {data_bytes}. {RESTORE}"
            )
        reached = place.stop
    if reached != data_bytes:
        raise WeightsError(
            f"the tensors end at byte {reached} of the data, but {data_bytes - reached} more "
            f"bytes follow: not a whole weights file and nothing else. {RESTORE}"
        )


def _load_object(text: str, *, what: str) -> dict[str, Any]:
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique_pairs,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{what} is not valid JSON: {error!s:.200}. {RESTORE}") from error
    if not isinstance(value, dict):
        raise WeightsError(f"{what} is not a JSON table. {RESTORE}")
    return cast(dict[str, Any], value)


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("the same key twice")
    return table


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _dump_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _text_digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_counts(values: object) -> bool:
    return isinstance(values, list) and all(map(_is_count, cast(list[object], values)))


def _is_table_of(kind: type | tuple[type, ...], value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(item, kind) and not isinstance(item, bool)
        for item in cast(dict[str, object], value).values()
    )


_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_FIELD_CHECKS: dict[str, Callable[[Any], bool]] = {
    "name": lambda value: isinstance(value, str),
    "sizes": lambda value: _is_table_of((int, dict), value),
    "info": lambda value: isinstance(value, dict),
    "versions": lambda value: _is_table_of(str, value),
    "digests": lambda value: (
        _is_table_of(str, value) and all(map(_DIGEST.fullmatch, value.values()))
    ),
}
