"""Save and restore everything an optimizer knows, so that a training can go on where it was."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from thinc.model import Model
from thinc.optimizers import Optimizer

from spacy_torch.bridge.optimizer_owners import Owners, find_owners
from spacy_torch.bridge.packed_state import PackedState, empty_state, pack_state
from spacy_torch.bridge.parameter_state import (
    average_table,
    moment_tables,
    side_states,
    update_counts,
)
from spacy_torch.bridge.schedule_position import forward_schedule, schedule_positions
from spacy_torch.bridge.torch_optimizer import TorchOptimizer
from spacy_torch.bridge.weights import load_weights, read_header, save_weights

FILE_NAME = "optimizer"  # what the file says that it holds
HYPERPARAMETERS = ("learn_rate", "b1", "b2", "eps", "L2", "grad_clip")

logger = logging.getLogger(__name__)


def save_optimizer(
    optimizer: Optimizer, models: Mapping[str, Model[Any, Any]], path: str | Path
) -> str:
    """Write the state of an optimizer to a safetensors file, whole or not at all.

    `models` are those of the trained components by name. State of anything else is left out,
    with a warning.

    Returns:
        A digest of all that was written.

    Raises:
        ValueError: the position of a schedule is not known.
        OSError: the file cannot be written.
    """
    owners = find_owners(models)
    states: dict[str, PackedState] = {}
    left_out: list[object] = []
    for key in _keys(optimizer):
        name = owners.name_of(key)
        if name is None:
            left_out.append(key)
        else:
            states[name] = pack_state(optimizer, key)
    if left_out:
        logger.warning(
            "The optimizer's state of %d parameters is not saved: they belong to none of the "
            "components (%s). The first one is %s",
            len(left_out),
            ", ".join(models),
            left_out[0],
        )
    info = {
        "kind": _kind(optimizer),
        "hyperparameters": {name: float(getattr(optimizer, name)) for name in HYPERPARAMETERS},
        "schedules": {
            name: {"taken": taken, "value": float(getattr(optimizer, name))}
            for name, taken in schedule_positions(optimizer).items()
        },
        "states": {name: state.describe() for name, state in states.items()},
    }
    return save_weights(_flat(states), path, name=FILE_NAME, sizes={}, info=info)


def load_optimizer(
    optimizer: Optimizer,
    models: Mapping[str, Model[Any, Any]],
    path: str | Path,
    *,
    hyperparameters: Literal["saved", "given"] = "saved",
) -> None:
    """Give a newly made optimizer the state that `save_optimizer` wrote.

    The models must be built and have the same structure. Schedules are run forward to where
    they were. With "saved", constants are set to their saved values and a schedule must come to
    its saved value; "given" keeps those of `optimizer`, to go on with other settings.

    Raises:
        ValueError: naming what does not fit: the kind of optimizer, a schedule, a parameter. A
            damaged file gives a `WeightsError`, which is a ValueError.
        OSError: the file cannot be read.
    """
    try:
        info = read_header(path).info
        if "states" not in info:
            raise ValueError("this file holds no optimizer state, see save_optimizer()")
        if info["kind"] != _kind(optimizer):
            raise ValueError(
                f"this is the state of {info['kind']}, it cannot be loaded into "
                f"{_kind(optimizer)}: use the config that the training was started with"
            )
        owners = find_owners(models)
        states = {name: empty_state(state) for name, state in info["states"].items()}
        keys = {name: owners.key_of(name) for name in states}
        for name, state in states.items():
            _check_shape(name, state, owners=owners)
        load_weights(path, _flat(states), name=FILE_NAME)
        _restore_settings(optimizer, info, take_constants=hyperparameters == "saved")
    except ValueError as error:
        # Of the same type, so that a damaged file can be told from a wrong one.
        raise type(error)(f"{path}: {error}") from error
    for table in (
        *moment_tables(optimizer),
        average_table(optimizer) or {},
        side_states(optimizer),
        update_counts(optimizer),
    ):
        table.clear()
    for name, state in states.items():
        owners.unpack(optimizer, name, keys[name], state)


def _keys(optimizer: Optimizer) -> list[Any]:
    """All keys with a state, each once, in the order of their first step."""
    tables = (update_counts(optimizer), *moment_tables(optimizer), average_table(optimizer) or {})
    return list(dict.fromkeys(key for table in tables for key in table))


def _kind(optimizer: Optimizer) -> str:
    averages = "with" if optimizer.averages is not None else "without"
    if isinstance(optimizer, TorchOptimizer):
        return f"spacy-torch.{optimizer.kind} {averages} averages"
    if optimizer.use_radam:
        return f"RAdam {averages} averages"
    return f"{'Adam' if optimizer.b1 > 0 else 'SGD'} {averages} averages"


def _flat(states: Mapping[str, PackedState]) -> dict[str, Any]:
    return {
        f"{name}|{table}": tensor
        for name, state in states.items()
        for table, tensor in state.tables.items()
    }


def _check_shape(name: str, state: PackedState, *, owners: Owners) -> None:
    if state.shape is None:
        return
    shape = owners.shape_of(name)
    # Thinc's moments are flat.
    is_flat = name.startswith("thinc") and state.shape == (math.prod(shape),)
    if state.shape != shape and not is_flat:
        raise ValueError(
            f"the saved state of {name!r} has shape {list(state.shape)}, the parameter has "
            f"{list(shape)}: load it into the pipeline that it was saved from"
        )


def _restore_settings(
    optimizer: Optimizer, info: Mapping[str, Any], *, take_constants: bool
) -> None:
    for name, saved in info["schedules"].items():
        if name in optimizer.schedules:
            forward_schedule(optimizer, name, taken=saved["taken"])
        if take_constants and getattr(optimizer, name, None) != saved["value"]:
            raise ValueError(
                f"{name} is {getattr(optimizer, name, None)} after {saved['taken']} values of its "
                f"schedule, but was {saved['value']} when saved: use the config that the training "
                'was started with, or load with hyperparameters="given"'
            )
    if take_constants:
        for name, value in info["hyperparameters"].items():
            if name not in optimizer.schedules:
                setattr(optimizer, name, value)
