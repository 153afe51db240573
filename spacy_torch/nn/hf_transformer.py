"""A Hugging Face encoder over tokens: windows of pieces in, a vector per token out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from spacy_torch.nn.dropout import build_dropout
from spacy_torch.nn.layer_mix import LayerMix
from spacy_torch.nn.pieces import PieceBatch
from spacy_torch.nn.ragged import Ragged
from spacy_torch.nn.sub_batches import SubBatch, SubBatches

if TYPE_CHECKING:
    from jaxtyping import Float

PiecePooling = Literal["mean", "first"]

# Of a sub-batch, padding included. Small on a CPU, where what fits into its caches is fast; but
# each sub-batch of an update adds to the gradients of all weights, so there are few of them.
PIECES_ON_CPU = 512
PIECES_ON_CPU_IN_TRAINING = 4096
PIECES_ON_GPU = 16384


class HFTransformer(nn.Module):
    """Runs a transformer over windows of pieces and pools the pieces of each token.

    A token without pieces (white space, as a rule) gets zeros. The tokenizer is a part of the
    module, because it belongs to the weights: it is saved, loaded and copied with them.

    The model's own dropout layers are replaced, so that they follow spaCy's
    `[training.dropout]` or keep a rate of ours. Rates that a model keeps as plain numbers
    stay those of its configuration.

    Args:
        transformer: takes `input_ids` and `attention_mask` of shape (window, piece) and
            returns what has a `last_hidden_state` (and `hidden_states`).
        pieces: a module that makes a `PieceBatch` of what the forward method is given.
        width: the size of the vectors.
        fetch: gives the pretrained weights, and the state of `pieces`; called by
            `load_pretrained`.
        layers: which hidden states are used; 0 is the embeddings, -1 the last layer.
            Several are mixed.
        pooling: the vector of a token is the mean of its pieces or the first of them.
        pad_id: the piece that fills up.
        batch_pieces: see `SubBatches`; by default 16,384, and on a CPU 512 when predicting
            and 4,096 when training.
        dropout: a rate, or `None` to follow spaCy's `[training.dropout]`.
        freeze: the transformer learns nothing, and runs without dropout and without a graph.
    """

    def __init__(
        self,
        transformer: nn.Module,
        *,
        pieces: nn.Module,
        width: int,
        fetch: Callable[[], tuple[dict[str, Tensor], dict[str, Tensor]]] | None = None,
        layers: Sequence[int] = (-1,),
        pooling: PiecePooling = "mean",
        pad_id: int = 0,
        batch_pieces: int | None = None,
        dropout: float | None = None,
        freeze: bool = False,
    ) -> None:
        super().__init__()
        if not layers:
            raise ValueError("layers must name at least one hidden state, such as [-1], got none")
        self.transformer = transformer
        self.pieces = pieces
        self.width = width
        self.layers = tuple(layers)
        self.mix = LayerMix(len(layers)) if len(layers) > 1 else None
        self.pooling: PiecePooling = pooling
        self.pad_id = pad_id
        self.freeze = freeze
        self._fetch = fetch
        # By whether it is in training. Made when the device is known.
        self._sub_batches: dict[bool, SubBatches] = {}
        if batch_pieces is not None:
            self._sub_batches = dict.fromkeys((True, False), SubBatches(batch_pieces))
        replace_dropout(transformer, dropout)
        if freeze:
            transformer.requires_grad_(False)

    def load_pretrained(self) -> None:
        """Take over the pretrained weights and the tokenizer that belongs to them."""
        if self._fetch is not None:
            weights, pieces = self._fetch()
            self.transformer.load_state_dict(weights)
            self.pieces.load_state_dict(pieces)

    def train(self, mode: bool = True) -> HFTransformer:
        """Training mode, in which a frozen transformer has no part."""
        super().train(mode)
        if self.freeze:
            self.transformer.eval()
        return self

    def forward(self, texts: Any) -> Ragged:
        """Encode a batch; the vectors are at least float32, whatever the transformer's are."""
        batch = cast("PieceBatch", self.pieces(texts))
        device = self._device()
        lengths = batch.lengths.to(device)
        if len(batch.windows):
            rows, row_of = self._find_sub_batches(device).run(
                partial(self._encode, ids=batch.ids, device=device), batch.windows
            )
            found = rows.index_select(0, row_of[batch.rows].to(device))
        else:
            found = self._no_rows(device)
        vectors = Ragged(found, batch.counts.to(device))
        return Ragged(vectors.mean() if self.pooling == "mean" else vectors.first(), lengths)

    def _encode(
        self, batch: SubBatch, *, ids: Tensor, device: torch.device
    ) -> Float[Tensor, "piece width"]:
        padded = ids[batch.rows].masked_fill(~batch.mask, self.pad_id).to(device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            outputs = self.transformer(
                input_ids=padded,
                attention_mask=batch.mask.long().to(device),
                output_hidden_states=self.layers != (-1,),
            )
        # The places of the real pieces are counted on the CPU: a GPU is not waited for.
        real = batch.mask.flatten().nonzero().squeeze(1).to(device)
        if self.layers == (-1,):
            return self._take(outputs.last_hidden_state, real)
        states = [self._take(outputs.hidden_states[layer], real) for layer in self.layers]
        return states[0] if self.mix is None else self.mix(states)

    def _take(self, hidden: Tensor, rows: Tensor) -> Tensor:
        found = hidden.flatten(0, 1).index_select(0, rows)
        return found.to(torch.promote_types(found.dtype, torch.float32))

    def _no_rows(self, device: torch.device) -> Tensor:
        """No pieces at all: no rows, but connected to a parameter, as every output must be."""
        nothing = torch.zeros(0, self.width, device=device)
        for parameter in self.parameters():
            if parameter.requires_grad:
                return nothing + parameter.flatten()[:0].sum().to(nothing.dtype)
        return nothing

    def _device(self) -> torch.device:
        # What was exported has no parameters any more.
        return next(chain(self.transformer.parameters(), self.transformer.buffers())).device

    def _find_sub_batches(self, device: torch.device) -> SubBatches:
        if self.training not in self._sub_batches:
            on_cpu = PIECES_ON_CPU_IN_TRAINING if self.training else PIECES_ON_CPU
            budget = on_cpu if device.type == "cpu" else PIECES_ON_GPU
            self._sub_batches[self.training] = SubBatches(budget)
        return self._sub_batches[self.training]


def replace_dropout(module: nn.Module, rate: float | None) -> None:
    """Put our dropout, which is faster on a CPU, in the place of every `nn.Dropout` inside.

    Args:
        rate: kept by all of them; `None`: they follow spaCy's `[training.dropout]`.
    """
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout):
                setattr(parent, name, build_dropout(rate))
