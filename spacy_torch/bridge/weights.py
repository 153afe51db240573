"""Saving and loading a module's tensors, as a safetensors file or as bytes in pieces.

Bytes are copied slice by slice here and not by the safetensors library, because its
older versions copy all tensors at once, it reads no bytes in pieces, and the digests
are taken from the very bytes that are written. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Union, cast

import torch
from torch import Tensor

from spacy_torch.bridge import weights_bytes
from spacy_torch.bridge.atomic import replacing
from spacy_torch.bridge.weights_bytes import (
    ChunkSink,
    ChunkSource,
    FileSink,
    MappedFile,
    Sink,
    Source,
    read_bytes,
)
from spacy_torch.bridge.weights_header import (
    LENGTH_BYTES,
    TensorDigest,
    TensorPlace,
    current_versions,
    decode_header,
    encode_header,
    header_digest,
    list_names,
    place_tensors,
)
from spacy_torch.bridge.weights_header import (
    Header as Header,
)
from spacy_torch.bridge.weights_header import (
    Layout as Layout,
)
from spacy_torch.bridge.weights_header import (
    WeightsError as WeightsError,
)
from spacy_torch.bridge.weights_header import (
    weights_digest as weights_digest,
)
from spacy_torch.bridge.weights_match import check_match, check_name, check_savable

WeightsSource = Union[str, "os.PathLike[str]", Sequence[bytes]]


def save_weights(
    tensors: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    *,
    name: str,
    sizes: Mapping[str, Any],
    info: Mapping[str, Any],
) -> str:
    """Write tensors to a file that is replaced whole, or on any failure left as it was.

    Tensors may be on any device, of any stride, and share memory: a shared one is
    stored under each of its names. The same tensors always give the same bytes.

    Returns:
        A digest of all that was written, for `load_built`.

    Raises:
        WeightsError: If a tensor, `sizes` or `info` cannot be stored.
        OSError: If the file cannot be written.
    """
    check_savable(tensors)
    with replacing(path) as file:
        return _write(tensors, FileSink(file), name=name, sizes=sizes, info=info)


def weights_to_chunks(
    tensors: Mapping[str, Tensor], *, name: str, sizes: Mapping[str, Any], info: Mapping[str, Any]
) -> list[bytes]:
    """The bytes of the file that `save_weights` writes, in pieces of at most 1 GiB."""
    check_savable(tensors)
    sink = ChunkSink()
    _write(tensors, sink, name=name, sizes=sizes, info=info)
    return sink.chunks()


def read_header(source: WeightsSource) -> Header:
    """What a weights file, or its bytes in pieces, says about itself; reads no tensor.

    Raises:
        WeightsError: If it is no whole weights file that this version can read.
        OSError: If the file cannot be opened.
    """
    with _opened(source) as opened:
        return _read_layout(opened).header


def read_layout(source: WeightsSource, *, check: bool = False) -> Layout:
    """`read_header`, and where each tensor lies.

    Args:
        check: whether the bytes of all tensors are read and held against their digests, too.

    Raises:
        WeightsError: If it is no whole weights file that this version can read, or damaged.
        OSError: If the file cannot be opened.
    """
    with _opened(source) as opened:
        layout = _read_layout(opened)
        if check:
            staging = torch.empty(weights_bytes.SLICE_BYTES, dtype=torch.uint8)
            as_stored = {
                name: torch.empty(0, dtype=place.dtype) for name, place in layout.places.items()
            }
            _check_digests(opened, layout, as_stored, staging=staging)
        return layout


def load_weights(
    source: WeightsSource, tensors: Mapping[str, Tensor], *, name: str | None = None
) -> Header:
    """Copy stored weights into a module's tensors, all of them or none.

    Names, shapes, types and digests of all tensors are checked before the first one
    is written to. Tensors are written in place, so tied ones stay tied. Between
    floating types values are converted; any other difference of type is an error.

    Args:
        source: A path, or the pieces that `weights_to_chunks` gave.
        tensors: `module.state_dict()`, or parameters and buffers by name.
        name: What the weights must have been saved for; None accepts any.

    Raises:
        WeightsError: If anything does not fit, with every name that does not.
        OSError: If the file cannot be opened.
    """
    return load_built(source, lambda layout: tensors, name=name)


def load_built(
    source: WeightsSource,
    find_tensors: Callable[[Layout], Mapping[str, Tensor]],
    *,
    name: str | None = None,
    digest: str | None = None,
) -> Header:
    """`load_weights` into tensors that are made once the header has been read and checked.

    With a `digest`, only the very weights for which `save_weights` returned it are loaded.
    """
    with _opened(source) as opened:
        layout = _read_layout(opened)
        if name is not None:
            check_name(layout.header, name)
        tensors = find_tensors(layout)
        with torch.no_grad():
            check_match(layout, tensors)
            if digest is not None and digest != layout.digest:
                raise WeightsError(
                    "these weights and the file 'model' beside them come from two different "
                    "saves, of which one was not finished: save again, or copy both from the "
                    "same one"
                )
            staging = torch.empty(weights_bytes.SLICE_BYTES, dtype=torch.uint8)
            _check_digests(opened, layout, tensors, staging=staging)
            for tensor_name, place in layout.places.items():
                _copy_into(tensors[tensor_name], opened, layout, place, staging=staging)
        return layout.header


def verify_weights(path: str | os.PathLike[str]) -> str:
    """Read a weights file to its end and return the digest that `save_weights` gave for it.

    Raises:
        WeightsError: it is not whole.
        OSError: it cannot be read.
    """
    with _opened(path) as opened:
        layout = _read_layout(opened)
        alike = {name: torch.empty(0, dtype=place.dtype) for name, place in layout.places.items()}
        staging = torch.empty(weights_bytes.SLICE_BYTES, dtype=torch.uint8)
        _check_digests(opened, layout, alike, staging=staging)
        return layout.digest


def _write(
    tensors: Mapping[str, Tensor],
    sink: Sink,
    *,
    name: str,
    sizes: Mapping[str, Any],
    info: Mapping[str, Any],
) -> str:
    # The header goes in last: digests are then of the bytes written, even if another
    # thread trains meanwhile, and a file cut off before the end has no header at all.
    places = place_tensors(tensors)
    header = Header(
        name=name,
        sizes=dict(sizes),
        info=dict(info),
        versions=current_versions(),
        digests=dict.fromkeys(places, "sha256:" + "0" * 64),
    )
    data_start = len(encode_header(header, places))
    digests: dict[str, str] = {}
    for tensor_name, place in places.items():
        digest = TensorDigest(place)
        position = data_start + place.start
        for piece in _pieces(tensors[tensor_name].detach(), itemsize=place.dtype.itemsize):
            data = _byte_view(piece.cpu().resolve_conj().resolve_neg().contiguous())
            digest.update(data)
            sink.write_at(position, data)
            position += len(data)
        digests[tensor_name] = digest.text()
    header = dataclasses.replace(header, digests=digests)
    encoded = encode_header(header, places)
    sink.write_at(0, memoryview(encoded))
    return header_digest(encoded[LENGTH_BYTES:])


@contextlib.contextmanager
def _opened(source: WeightsSource) -> Generator[Source, None, None]:
    if not isinstance(source, (str, os.PathLike)):
        yield ChunkSource(_checked_chunks(source))
        return
    with open(source, "rb") as file, contextlib.closing(MappedFile(file)) as mapped:
        try:
            yield mapped
        except WeightsError as error:
            raise error.within(f"file {os.fspath(source)}") from error


def _checked_chunks(chunks: object) -> Sequence[bytes]:
    # They come out of a msgpack, so they may be anything.
    if not isinstance(chunks, (list, tuple)):
        raise WeightsError(
            f"weights must be a path or a list of bytes, got {type(chunks).__name__}"
        )
    items = cast("Sequence[object]", chunks)
    for index, item in enumerate(items):
        if not isinstance(item, bytes):
            raise WeightsError(
                f"piece {index} of the weights is not bytes but {type(item).__name__}"
            )
    return cast("Sequence[bytes]", items)


def _read_layout(source: Source) -> Layout:
    return decode_header(lambda start, stop: read_bytes(source, start, stop), size=source.size)


def _check_digests(
    source: Source, layout: Layout, tensors: Mapping[str, Tensor], *, staging: Tensor
) -> None:
    damaged: set[str] = set()
    too_large: set[str] = set()
    for name, place in layout.places.items():
        limit = _range_limit(place.dtype, tensors[name].dtype)
        digest = TensorDigest(place)
        for start in range(place.start, place.stop, weights_bytes.SLICE_BYTES):
            stop = min(start + weights_bytes.SLICE_BYTES, place.stop)
            values = _stage(source, layout.data_start + start, place.dtype, stop - start, staging)
            digest.update(_byte_view(values))
            if limit is not None and _exceeds(values, limit):
                too_large.add(name)
        if digest.text() != layout.header.digests[name]:
            damaged.add(name)
    if damaged:
        raise WeightsError(
            f"damaged: the bytes of tensors {list_names(damaged)} do not match their digests. "
            "Restore the file from where it came from"
        )
    if too_large:
        raise WeightsError(
            f"the values of tensors {list_names(too_large)} are too large for the module's type: "
            "load into a module of the stored precision"
        )


def _range_limit(stored: torch.dtype, wanted: torch.dtype) -> float | None:
    if not stored.is_floating_point or stored == wanted:
        return None
    limit = torch.finfo(wanted).max
    return limit if limit < torch.finfo(stored).max else None


def _exceeds(values: Tensor, limit: float) -> bool:
    magnitudes = values.double().abs()
    return bool((magnitudes.isfinite() & (magnitudes > limit)).any())


def _copy_into(
    tensor: Tensor, source: Source, layout: Layout, place: TensorPlace, *, staging: Tensor
) -> None:
    position = layout.data_start + place.start
    for piece in _pieces(tensor.detach(), itemsize=place.dtype.itemsize):
        n_bytes = piece.numel() * place.dtype.itemsize
        values = _stage(source, position, place.dtype, n_bytes, staging)
        piece.copy_(values.view(piece.shape))
        position += n_bytes


def _stage(
    source: Source, position: int, dtype: torch.dtype, n_bytes: int, staging: Tensor
) -> Tensor:
    filled = 0
    room = _byte_view(staging)
    for view in source.views(position, position + n_bytes):
        room[filled : filled + len(view)] = view
        filled += len(view)
    return staging[:n_bytes].view(dtype)


def _pieces(tensor: Tensor, *, itemsize: int) -> Iterator[Tensor]:
    """Views of at most one slice that together are the tensor in row-major order."""
    limit = weights_bytes.SLICE_BYTES // itemsize
    if tensor.numel() <= limit:
        if tensor.numel():
            yield tensor
        return
    row = tensor.numel() // tensor.shape[0]
    if row <= limit:
        rows = limit // row
        for start in range(0, tensor.shape[0], rows):
            yield tensor[start : start + rows]
        return
    for part in tensor.unbind():
        yield from _pieces(part, itemsize=itemsize)


def _byte_view(tensor: Tensor) -> memoryview:
    flat = tensor.reshape(-1)
    if flat.numel() == 1:
        # One element counts as contiguous whatever its stride, but view() minds.
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8).numpy().data
