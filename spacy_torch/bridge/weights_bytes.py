"""Where the bytes of weights lie: in a file, or in pieces that msgpack can carry."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol

# Thinc puts a shim's bytes in a msgpack, which refuses one bytes object over 4 GiB.
CHUNK_BYTES = 1024**3
# How much of a tensor is copied at a time, and so what saving and loading cost in memory;
# a multiple of the widest element, so that no slice ends inside one.
SLICE_BYTES = 16 * 1024**2


class Source(Protocol):
    """Bytes to load from."""

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    def views(self, start: int, stop: int) -> Iterator[memoryview]:
        """The bytes from start to stop in order, each view good until the next is asked for."""
        ...


class Sink(Protocol):
    """A place to save bytes to."""

    def write_at(self, start: int, data: memoryview) -> None:
        """Put bytes at a position; writing past the end fills the gap with zeros."""
        ...


def read_bytes(source: Source, start: int, stop: int) -> bytes:
    """A copy of the bytes from start to stop."""
    return b"".join(bytes(view) for view in source.views(start, stop))


class MappedFile:
    """A file mapped into memory, of which at most one slice is resident."""

    def __init__(self, file: BinaryIO) -> None:
        self.size = file.seek(0, io.SEEK_END)
        # An empty file cannot be mapped, and there is nothing in it to view.
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else None

    def views(self, start: int, stop: int) -> Iterator[memoryview]:
        """See `Source.views`."""
        for begin in range(start, stop, SLICE_BYTES):
            end = min(begin + SLICE_BYTES, stop)
            if self._map is None:
                return
            with memoryview(self._map) as whole, whole[begin:end] as view:
                yield view
            self._release(begin, end)

    def close(self) -> None:
        """Unmap the file."""
        if self._map is not None:
            self._map.close()

    def _release(self, begin: int, end: int) -> None:
        # Without this every page read stays in the process until the map is closed, and
        # loading takes twice the memory of the weights. Windows has no madvise.
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            first = begin - begin % mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, first, end - first)


class ChunkSource:
    """A file's bytes cut in pieces."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.size = sum(map(len, chunks))
        self._chunks = chunks

    def views(self, start: int, stop: int) -> Iterator[memoryview]:
        """See `Source.views`."""
        position = 0
        for chunk in self._chunks:
            begin, end = max(start - position, 0), min(stop - position, len(chunk))
            if begin < end:
                yield memoryview(chunk)[begin:end]
            position += len(chunk)


class FileSink:
    """An open file to save to."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write_at(self, start: int, data: memoryview) -> None:
        """See `Sink.write_at`."""
        self._file.seek(start)
        self._file.write(data)


class ChunkSink:
    """Collects bytes in pieces of `CHUNK_BYTES`."""

    def __init__(self) -> None:
        self._buffers: list[io.BytesIO] = []

    def write_at(self, start: int, data: memoryview) -> None:
        """See `Sink.write_at`."""
        while data:
            index, offset = divmod(start, CHUNK_BYTES)
            while len(self._buffers) <= index:
                self._buffers.append(io.BytesIO())
            part = data[: CHUNK_BYTES - offset]
            self._buffers[index].seek(offset)
            self._buffers[index].write(part)
            start += len(part)
            data = data[len(part) :]

    def chunks(self) -> list[bytes]:
        """The pieces, which share the collected memory rather than copy it."""
        return [buffer.getvalue() for buffer in self._buffers]
