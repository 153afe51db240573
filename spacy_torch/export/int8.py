"""Export a module with its large matrices rounded to 8 bits."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from spacy_torch.bridge.shim import TorchShim
from spacy_torch.export.calls import Call
from spacy_torch.export.formats import Exported, NotExportable
from spacy_torch.nn.int8_conversion import find_int8_layers, round_layers


def export_int8(shim: TorchShim, calls: Sequence[Call]) -> Exported:
    """Round what is worth it; the original stays as it is.

    Raises:
        NotExportable: nothing in the module is.
    """
    names = find_int8_layers(shim.module)
    if not names:
        raise NotExportable("it has no matrix that is large enough for 8 bits to be faster")
    module = copy.deepcopy(shim.module)
    round_layers(module, names)
    return Exported(module, {"layers": names}, f"{len(names)} matrices of 8 bits")
