"""How a component is saved: its settings, its model, and the weights of each torch module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import srsly
from spacy import util
from spacy.pipeline import TrainablePipe
from thinc.api import Model
from typing_extensions import Self

from spacy_torch.bridge.atomic import replacing, replacing_together
from spacy_torch.bridge.model import find_shims, get_shim
from spacy_torch.bridge.sealed import read_sealed, write_sealed
from spacy_torch.bridge.shim import TorchShim
from spacy_torch.bridge.weights import WeightsError, read_header
from spacy_torch.bridge.weights_apart import weights_apart


class SavedPipe(TrainablePipe):
    """The half of `TorchPipe` that saves and loads.

    The weights are safetensors in a file of their own, never pickled, and know the labels
    that they were saved with.

    Attributes:
        cfg: settings saved with the component, all of them JSON; "labels" among them.
        model: its reference "logits" is a model made by `wrap_module`.
    """

    cfg: dict[str, Any]
    model: Model[Any, Any]

    @property
    def logits_model(self) -> Model[Any, Any]:
        """The wrapped torch module inside the model."""
        return self.model.get_ref("logits")

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """Everything that `to_disk` writes, the weights among it."""
        self.note_labels()
        return super().to_bytes(exclude=tuple(exclude))

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> Self:
        """Load what `to_bytes` gave; labels and settings stay as they were if it fails.

        Raises:
            WeightsError: the weights are damaged, or do not fit the model or the labels.
        """
        cfg = dict(self.cfg)

        def load_model(data: bytes) -> None:
            try:
                self.model.from_bytes(data)
            except (WeightsError, ValueError) as error:
                raise WeightsError(f"Component {self.name!r}: {error}") from error

        util.from_bytes(
            bytes_data,
            {
                "cfg": lambda b: cfg.update(cast(dict[str, Any], srsly.json_loads(b))),
                "vocab": lambda b: self.vocab.from_bytes(b, exclude=exclude),
                "model": load_model,
            },
            tuple(exclude),
        )
        self._take_over(cfg)
        return self

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Save into a directory: `cfg`, `model` and one `.safetensors` file per module.

        All files are written beside the old ones and then renamed together: a failure
        leaves the save before as it was. A crash between two renames may leave files of
        two saves; weights that are not those of the file `model`, or that have other labels
        than `cfg`, are refused when loading.
        """
        self._validate_serialization_attrs()
        self.note_labels()

        def write_model(file: Path) -> None:
            for shim, weights in self._weights_files(file):
                if shim.is_built:
                    shim.to_disk(weights)
            with weights_apart():
                write_sealed(file, self.model.to_bytes())

        def write_cfg(file: Path) -> None:
            with replacing(file) as opened:
                opened.write(srsly.json_dumps(self.cfg, indent=2).encode("utf8"))

        writers = {
            "model": write_model,
            "cfg": write_cfg,
            "vocab": lambda p: self.vocab.to_disk(p, exclude=exclude),
        }
        with replacing_together():
            util.to_disk(path, writers, exclude)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> Self:
        """Load what `to_disk` saved; labels and settings stay as they were if it fails.

        Raises:
            WeightsError: naming component, file and tensor, when anything is missing,
                damaged or of another shape.
        """
        self._validate_serialization_attrs()
        cfg = dict(self.cfg)

        def read_model(file: Path) -> None:
            try:
                self.model.from_bytes(read_sealed(file))
            except (OSError, ValueError, LookupError, TypeError) as error:
                raise WeightsError(f"Component {self.name!r}, file {file}: {error}") from error
            for shim, weights in self._weights_files(file):
                if shim.is_apart:
                    self._read_weights(shim, weights, cfg)

        readers = {
            "cfg": lambda p: cfg.update(_read_cfg(self.name, p)),
            "vocab": lambda p: self.vocab.from_disk(p, exclude=exclude),
            "model": read_model,
        }
        util.from_disk(path, readers, exclude)
        self._take_over(cfg)
        return self

    def _weights_files(self, model_file: Path) -> Iterator[tuple[TorchShim, Path]]:
        for index, shim in enumerate(find_shims(self.model)):
            suffix = f".{index}.safetensors" if index else ".safetensors"
            yield shim, model_file.with_name(f"{model_file.name}{suffix}")

    def _read_weights(self, shim: TorchShim, file: Path, cfg: dict[str, Any]) -> None:
        try:
            if shim is get_shim(self.logits_model):
                _check_stored_labels(file, cfg)  # before any weight is replaced
            shim.from_disk(file)
        except FileNotFoundError as error:
            raise WeightsError(
                f"Component {self.name!r}: the weights file {file} is missing; copy it from "
                "where the pipeline was saved, it belongs beside the file 'model'"
            ) from error
        except WeightsError as error:  # which names the file
            raise WeightsError(f"Component {self.name!r}, {error}") from error

    def note_labels(self) -> None:
        """Store the labels with the weights, which are refused beside others when loading."""
        get_shim(self.logits_model).info["labels"] = list(self.labels)

    def _take_over(self, cfg: dict[str, Any]) -> None:
        shim = get_shim(self.logits_model)
        if shim.is_built:
            try:
                _check_labels(shim.info, cfg)
            except WeightsError as error:
                raise error.within(f"Component {self.name!r}") from error
        self.cfg = cfg


def _check_labels(info: Mapping[str, Any], cfg: dict[str, Any]) -> None:
    stored = info.get("labels")
    if stored is not None and stored != cfg["labels"]:
        raise WeightsError(
            f"the weights were saved with the labels {stored}, but the cfg beside them has "
            f"{cfg['labels']}: the two come from different pipelines, copy both from the same one"
        )


def _check_stored_labels(file: Path, cfg: dict[str, Any]) -> None:
    info = read_header(file).info
    try:
        _check_labels(info, cfg)
    except WeightsError as error:
        raise error.within(f"file {file}") from error


def _read_cfg(name: str, file: Path) -> dict[str, Any]:
    try:
        return cast(dict[str, Any], srsly.read_json(file))
    except ValueError as error:
        raise ValueError(f"Component {name!r}, file {file}: not valid JSON ({error})") from error
