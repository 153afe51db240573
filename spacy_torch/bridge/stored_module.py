"""Build the module that stored weights belong to, without trusting the sizes beside them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from spacy_torch.bridge.building import ModuleBuilder, build_sized, named_tensors
from spacy_torch.bridge.weights_header import RESTORE, Layout, WeightsError
from spacy_torch.bridge.weights_match import check_shapes

# A size that is no axis of a tensor, such as a longest length, may be as large as this.
HARMLESS_SIZE = 1_000_000


def build_stored(build: ModuleBuilder, layout: Layout) -> nn.Module:
    """Build a module from the sizes in a header, if its tensors are then those in the file.

    Memory is taken only after that: the module is first built on torch's "meta" device,
    where tensors have a shape and no data. A builder that cannot work there is held to
    sizes no larger than the number of elements in the file.

    Raises:
        WeightsError: the tensors would not be those in the file, or the builder failed.
        ImportError: the builder needs a package that is not installed.
    """
    sizes = layout.header.sizes
    planned = _plan(build, sizes)
    if planned is None:
        _check_sizes(layout)
    else:
        check_shapes(layout.places, named_tensors(planned))
    try:
        return build_sized(build, sizes)
    except ImportError:  # which says what to install
        raise
    except Exception as error:
        raise WeightsError(
            f"the module cannot be built from the sizes {dict(sizes)!r:.200} stored with the "
            f"weights: {type(error).__name__}: {error}. Use the [model] block and code that the "
            "weights were saved with"
        ) from error


def _plan(build: ModuleBuilder, sizes: Mapping[str, Any]) -> nn.Module | None:
    try:
        with (
            torch.device("meta"),
            torch.random.fork_rng(devices=[]),  # pyright: ignore[reportUnknownMemberType]
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            return build_sized(build, sizes)
    except Exception:  # a user's code, which was not written for this device
        return None


def _check_sizes(layout: Layout) -> None:
    n_elements = sum(
        (place.stop - place.start) // place.dtype.itemsize for place in layout.places.values()
    )
    for name, size in layout.header.sizes.items():
        if isinstance(size, int) and size > max(n_elements, HARMLESS_SIZE):
            raise WeightsError(
                f"the size {name} = {size} stored with the weights cannot be right: all tensors "
                f"together have {n_elements} elements. {RESTORE}"
            )
