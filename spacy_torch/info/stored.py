"""The weights of a component as they lie on disk: nothing is built, and no code of its is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import srsly

from spacy_torch.bridge.sealed import MARK, read_sealed
from spacy_torch.bridge.weights import (
    Layout,
    WeightsError,
    WeightsSource,
    read_layout,
    weights_digest,
)
from spacy_torch.bridge.weights_apart import is_mark, read_mark

_DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError)


@dataclass(frozen=True)
class StoredWeights:
    """The weights of one torch module.

    Attributes:
        file: where they are, from the component's folder on.
        name: the architecture they belong to.
        n_elements: how many numbers, parameters and buffers.
        dtypes: how many of them have which type.
        n_bytes: of the tensors.
        digest: the same for the same tensors, whoever saved them; from the digests stored
            with them.
        digests: of each tensor, as stored.
        versions: of torch and spacy-torch, that saved them.
        problem: what is wrong with them, if anything is; then the rest may be empty.
    """

    file: str
    name: str = ""
    n_elements: int = 0
    dtypes: Mapping[str, int] = field(default_factory=dict)
    n_bytes: int = 0
    digest: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class StoredModel:
    """What a component's folder holds of its model.

    Attributes:
        n_bytes: of all files in the folder.
        n_thinc: how many numbers Thinc's own layers learn.
        weights: those of its torch modules.
    """

    n_bytes: int
    n_thinc: int
    weights: Sequence[StoredWeights]


def read_stored(folder: Path, *, check: bool) -> StoredModel | None:
    """What is stored of a component; None where it has no folder.

    Args:
        check: whether every byte is held against its digest, too.
    """
    if not folder.is_dir():
        return None
    n_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    try:
        message = _read_message(folder / "model")
        n_thinc = sum(
            array.size for node in message["params"] for array in node.values() if array is not None
        )
        weights = [*_read_shims(folder, message["shims"], check=check)]
    except _DAMAGED as error:
        problem = f"{type(error).__name__}: {error}"
        return StoredModel(n_bytes, 0, [StoredWeights("model", problem=problem)])
    return StoredModel(n_bytes, n_thinc, weights)


def _read_message(file: Path) -> dict[str, Any]:
    """Thinc's own message about a model, empty for a component that has none."""
    if not file.is_file():
        return {"params": [], "shims": []}
    data = file.read_bytes()
    message = srsly.msgpack_loads(read_sealed(file) if data.startswith(MARK) else data)
    if not isinstance(message, dict):
        raise TypeError(f"expected a table, got {type(message).__name__}")
    return message


def _read_shims(folder: Path, shims: Any, *, check: bool) -> Iterator[StoredWeights]:
    places = 0  # the files are numbered by our shims, of which those not built yet have none
    for data in (data for node in shims for data in node):
        if is_mark(data):
            file = f"model.{places}.safetensors" if places else "model.safetensors"
            yield _read_weights(file, folder / file, check=check, digest=read_mark(data))
        elif _are_weights(data):
            chunks = [data] if isinstance(data, bytes) else data
            yield _read_weights("model", chunks, check=check, digest=None)
        elif data != b"":
            continue  # a shim of Thinc's or of somebody else's
        places += 1


def _are_weights(data: object) -> bool:
    # A safetensors header is JSON behind eight bytes that say how long it is.
    return isinstance(data, list) or (isinstance(data, bytes) and data[8:9] == b"{")


def _read_weights(
    file: str, source: WeightsSource, *, check: bool, digest: str | None
) -> StoredWeights:
    try:
        layout = read_layout(source, check=check)
    except FileNotFoundError:
        return StoredWeights(file, problem="the file is missing")
    except (OSError, WeightsError) as error:
        return StoredWeights(file, problem=str(error))
    is_other = digest is not None and digest != layout.digest
    problem = "from another save than the file 'model' beside it" if is_other else None
    return _describe(file, layout, problem=problem)


def _describe(file: str, layout: Layout, *, problem: str | None) -> StoredWeights:
    dtypes: Counter[str] = Counter()
    for place in layout.places.values():
        n_elements = (place.stop - place.start) // place.dtype.itemsize
        dtypes[str(place.dtype).removeprefix("torch.")] += n_elements
    header = layout.header
    return StoredWeights(
        file=file,
        name=header.name,
        n_elements=sum(dtypes.values()),
        dtypes=dict(dtypes),
        n_bytes=sum(place.stop - place.start for place in layout.places.values()),
        digest=weights_digest(header),
        digests=header.digests,
        versions=header.versions,
        sizes=header.sizes,
        problem=problem,
    )
