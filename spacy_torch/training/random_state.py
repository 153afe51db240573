"""The random numbers of a training: two streams, and their states in a checkpoint."""

from __future__ import annotations

import contextlib
import random
import zlib
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from thinc.api import CupyOps
from torch import Tensor


@dataclass(frozen=True)
class RandomState:
    """Where the global generators of Python, NumPy and torch are, those of the GPUs too.

    `numpy` may be None: it is then left alone, as asking for it takes long. CuPy tells nobody
    the state of its generator, see `reseed_cupy`.
    """

    python: tuple[Any, ...]
    numpy: tuple[Any, ...] | None
    torch: Tensor
    gpus: tuple[Tensor, ...] = ()

    @classmethod
    def now(cls, *, with_numpy: bool = True, with_gpus: bool = False) -> RandomState:
        """The states of this moment."""
        return cls(
            python=random.getstate(),
            numpy=tuple(numpy.random.get_state()) if with_numpy else None,
            torch=torch.get_rng_state(),
            gpus=tuple(torch.cuda.get_rng_state_all()) if with_gpus else (),
        )

    def restore(self) -> None:
        """Set the generators to these states."""
        random.setstate(self.python)
        if self.numpy is not None:
            numpy.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.gpus and torch.cuda.device_count() >= len(self.gpus):
            torch.cuda.set_rng_state_all(list(self.gpus))

    def to_json(self) -> dict[str, Any]:
        """The states as plain values."""
        version, internal, gauss = self.python
        found: dict[str, Any] = {
            "python": [version, list(internal), gauss],
            "numpy": None,
            "torch": self.torch.numpy().tobytes().hex(),
            "gpus": [state.cpu().numpy().tobytes().hex() for state in self.gpus],
        }
        if self.numpy is not None:
            kind, keys, position, has_gauss, cached = self.numpy
            found["numpy"] = [kind, keys.tolist(), int(position), int(has_gauss), float(cached)]
        return found

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> RandomState:
        """The states that `to_json` gave."""
        version, internal, gauss = saved["python"]
        numpys = saved["numpy"]
        if numpys is not None:
            numpys = (numpys[0], numpy.array(numpys[1], dtype=numpy.uint32), *numpys[2:])
        return cls(
            python=(version, tuple(internal), gauss),
            numpy=numpys,
            torch=_from_hex(saved["torch"]),
            gpus=tuple(map(_from_hex, saved["gpus"])),
        )


class RandomStreams:
    """Keeps the random numbers of the data from those of the models.

    Shuffles, augmentation and readers draw from one stream, updates and evaluations from the
    other. So the data comes in the same order whatever the models draw, and a resumed run reads
    it again without them. Where only one of the two draws, nothing changes.

    Args:
        with_numpy: whether NumPy's generator has two streams, too; if the data is read while
            models train. Dropout of Thinc draws from it, shuffles do not.
    """

    def __init__(self, *, with_numpy: bool) -> None:
        self.with_numpy = with_numpy
        self.of_models = RandomState.now(with_numpy=with_numpy)
        self._is_inside = False

    @contextlib.contextmanager
    def for_models(self) -> Generator[None, None, None]:
        """While open, what is drawn comes from the stream of the models."""
        if self._is_inside:
            yield
            return
        of_data = RandomState.now(with_numpy=self.with_numpy)
        self.of_models.restore()
        self._is_inside = True
        try:
            yield
        finally:
            self._is_inside = False
            self.of_models = RandomState.now(with_numpy=self.with_numpy)
            of_data.restore()

    def save(self) -> dict[str, Any]:
        """The state of the models' stream, as JSON."""
        with self.for_models():
            has_gpu = torch.cuda.is_available() and torch.cuda.is_initialized()
            return RandomState.now(with_gpus=has_gpu).to_json()

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on with the models' stream where `save` found it."""
        state = RandomState.from_json(saved)
        with self.for_models():
            state.restore()

    def differ(self, number: int) -> None:
        """Give the models other numbers than the same process has elsewhere, or had before."""
        with self.for_models():
            seeds = random.Random(f"{random.random()} {number}")
            random.seed(seeds.getrandbits(64))
            numpy.random.seed(seeds.getrandbits(32))
            torch.manual_seed(seeds.getrandbits(63))  # that of the GPUs, too


def position_of_data() -> int:
    """A checksum of where the stream of the data is."""
    return zlib.crc32(repr(random.getstate()).encode())


def reseed_cupy(seed: int) -> None:
    """Let CuPy, where Thinc uses it, go on from a seed: it cannot be asked for its state.

    Done when a checkpoint is written and when it is loaded, both runs then draw the same.
    """
    if CupyOps.xp is not None:
        CupyOps.xp.random.seed(seed)


def _from_hex(text: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
