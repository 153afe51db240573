"""A bidirectional LSTM over rows in packed order, with a fast path for a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence

from spacy_torch.nn.packed_order import PackedOrder

if TYPE_CHECKING:
    from jaxtyping import Float, Int


# Below so many sequences torch's own steps are faster than ours, unless it has to record them.
FEW = 12


class PackedLSTM(nn.Module):
    """One layer that reads each sequence in both directions; the states side by side.

    The same function as a bidirectional `torch.nn.LSTM`, which holds the weights. It
    starts with orthogonal recurrent weights and with a bias of 1 for the forget gates
    (https://proceedings.mlr.press/v37/jozefowicz15.html).

    Args:
        inputs: the size of the vectors that come in.
        width: the size of both directions' states together, an even number.
    """

    def __init__(self, inputs: int, *, width: int) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise ValueError(
                f"width must be an even number of at least 2, half of it for each direction, "
                f"got {width}"
            )
        self.lstm = nn.LSTM(inputs, width // 2, bidirectional=True)
        for name, parameter in self.lstm.named_parameters():
            if parameter.ndim == 1:
                nn.init.zeros_(parameter)
                if name.startswith("bias_ih"):
                    nn.init.ones_(parameter.chunk(4)[1])
                continue
            for gate in parameter.chunk(4):
                if name.startswith("weight_hh"):
                    nn.init.orthogonal_(gate)
                else:
                    nn.init.xavier_uniform_(gate)

    def forward(
        self, values: Float[Tensor, "token inputs"], packed: PackedOrder
    ) -> Float[Tensor, "token width"]:
        """The states at each row; rows in and out are in packed order."""
        if not packed.sizes:
            return values @ values.new_zeros(values.shape[1], 2 * self.lstm.hidden_size)
        if packed.sizes[0] == 1:  # one sequence: nothing would be padded
            return self.lstm(values)[0]
        is_small = packed.sizes[0] < FEW and not torch.is_grad_enabled()
        if is_small or not _is_plain_cpu(values):
            sequence = PackedSequence(values, torch.tensor(packed.sizes))
            return cast("PackedSequence", self.lstm(sequence)[0]).data
        weights = [_stack_directions(self.lstm, name) for name in ("weight_ih", "weight_hh")]
        bias = _stack_directions(self.lstm, "bias_ih") + _stack_directions(self.lstm, "bias_hh")
        arguments = values, *weights, bias, packed
        return cast("Tensor", _BothDirections.apply(*arguments))  # pyright: ignore[reportUnknownMemberType]


def _stack_directions(lstm: nn.LSTM, name: str) -> Float[Tensor, "direction ..."]:
    weights = dict(lstm.named_parameters())
    return torch.stack([weights[f"{name}_l0"], weights[f"{name}_l0_reverse"]])


def _is_plain_cpu(values: Tensor) -> bool:
    return not (
        values.device.type != "cpu"
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    )


class _BothDirections(torch.autograd.Function):
    """Both directions step by step, with a gradient written by hand.

    torch's own LSTM pads on a CPU, or, given a packed sequence, records every operation
    of every step for the gradient. Here a step is a product and a few operations in
    place; what does not depend on the step before is done for all rows at once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,  # token, inputs
        weight: Tensor,  # direction, 4*width, inputs
        recurrent: Tensor,  # direction, 4*width, width
        bias: Tensor,  # direction, 4*width
        packed: PackedOrder,
    ) -> Tensor:
        n_rows, width = len(values), recurrent.shape[2]
        gates = values.new_empty(2, n_rows, 4 * width)
        for direction, rows in enumerate(_both_orders(values, packed.flip)):
            torch.addmm(bias[direction], rows, weight[direction].t(), out=gates[direction])
        states, cells, squashed = values.new_empty(3, 2, n_rows, width).unbind()
        # A copy that stands as the product reads it: up to twice as fast in every step.
        in_rows = recurrent.transpose(1, 2).contiguous()
        _run(gates, states, cells, squashed, in_rows, packed.sizes)
        ctx.save_for_backward(values, weight, recurrent, gates, states, cells, squashed)
        ctx.packed = packed
        return torch.cat([states[0], states[1].index_select(0, packed.flip)], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        (grad,) = grad_outputs
        values, weight, recurrent, gates, states, cells, squashed = ctx.saved_tensors
        packed: PackedOrder = ctx.packed
        n_first = packed.sizes[0]
        previous = packed.previous()
        cells_before = torch.zeros_like(cells)
        cells_before[:, n_first:] = cells.index_select(1, previous)
        d_states = torch.stack(_split_directions(grad, packed.flip))
        d_gates = _slopes(gates, cells_before, squashed)
        d_cells = _cell_slopes(gates, states, squashed)
        _run_back(d_gates, d_cells, d_states, gates, recurrent, packed.sizes)
        d_weight = torch.empty_like(weight)
        for direction, rows in enumerate(_both_orders(values, packed.flip)):
            torch.mm(d_gates[direction].t(), rows, out=d_weight[direction])
        later = d_gates[:, n_first:].transpose(1, 2)
        d_recurrent = torch.bmm(later, states.index_select(1, previous))
        d_values = None
        if ctx.needs_input_grad[0]:
            d_values = (d_gates[1] @ weight[1]).index_select(0, packed.flip)
            d_values.addmm_(d_gates[0], weight[0])
        return d_values, d_weight, d_recurrent, d_gates.sum(1), None


def _both_orders(values: Tensor, flip: Int[Tensor, " token"]) -> tuple[Tensor, Tensor]:
    return values, values.index_select(0, flip)


def _split_directions(grad: Tensor, flip: Int[Tensor, " token"]) -> tuple[Tensor, Tensor]:
    forward, backward = grad.chunk(2, dim=1)
    return forward, backward.index_select(0, flip)


def _gates(gates: Tensor) -> tuple[Tensor, ...]:
    """The input, forget, cell and output gates, each (direction, token, width), as views."""
    return gates.view(*gates.shape[:2], 4, -1).unbind(2)


def _by_step(sizes: list[int], *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """The rows of each step as views, of all tensors side by side."""
    return list(zip(*(torch.split(tensor, sizes, dim=1) for tensor in tensors), strict=True))


def _run(
    gates: Tensor,
    states: Tensor,
    cells: Tensor,
    squashed: Tensor,
    recurrent: Float[Tensor, "direction width 4*width"],
    sizes: list[int],
) -> None:
    """Fill in states, cells and their tanh, step by step; the gates are activated in place.

    As tanh(x) is 1 - 2 sigmoid(-2x), one call activates all four gates of a step.
    """
    ins, forgets, news, outs = _gates(gates)
    news.mul_(-2)
    _gates(recurrent)[2].mul_(-2)
    steps = _by_step(sizes, gates, ins, forgets, news, outs, states, cells, squashed)
    state_before = cell_before = None
    for gate, in_, forget, new, out, state, cell, squash in steps:
        size = gate.shape[1]
        if state_before is not None:
            gate.baddbmm_(state_before[:, :size], recurrent)
        gate.sigmoid_()
        torch.addcmul(in_, in_, new, value=-2, out=cell)  # in * (1 - 2 new)
        if cell_before is not None:
            cell.addcmul_(forget, cell_before[:, :size])
        torch.tanh(cell, out=squash)
        torch.mul(out, squash, out=state)
        state_before, cell_before = state, cell
    news.mul_(-2).add_(1)


def _slopes(gates: Tensor, cells_before: Tensor, squashed: Tensor) -> Tensor:
    """The part of each gate's gradient that is known without the steps that follow.

    For the first three it is to be multiplied by the gradient of the cell, for the output
    gate by that of the state.
    """
    in_, forget, new, out = _gates(gates)
    slopes = torch.empty_like(gates)
    d_in, d_forget, d_new, d_out = _gates(slopes)
    torch.addcmul(in_, in_, in_, value=-1, out=d_in).mul_(new)
    torch.addcmul(forget, forget, forget, value=-1, out=d_forget).mul_(cells_before)
    torch.addcmul(in_, in_ * new, new, value=-1, out=d_new)
    torch.addcmul(out, out, out, value=-1, out=d_out).mul_(squashed)
    return slopes


def _cell_slopes(gates: Tensor, states: Tensor, squashed: Tensor) -> Tensor:
    """What the gradient of a state becomes in its cell."""
    return torch.addcmul(_gates(gates)[3], states, squashed, value=-1)


def _run_back(
    d_gates: Tensor,
    d_cells: Tensor,
    d_states: Tensor,
    gates: Tensor,
    recurrent: Float[Tensor, "direction 4*width width"],
    sizes: list[int],
) -> None:
    """Turn slopes into gradients in place, from the last step to the first."""
    width = d_states.shape[2]
    by_gate = d_gates.view(*d_gates.shape[:2], 4, width)
    forgets = _gates(gates)[1]
    steps = _by_step(
        sizes, d_gates, by_gate[:, :, :3], by_gate[:, :, 3], d_cells, d_states, forgets
    )
    after = None
    for step in reversed(steps):
        d_gate, d_inner, d_out, d_cell, d_state, forget = step
        if after is None:
            d_cell.mul_(d_state)
        else:
            d_gate_after, d_cell_after, forget_after = after
            size = d_gate_after.shape[1]
            d_state[:, :size].baddbmm_(d_gate_after, recurrent)
            d_cell.mul_(d_state)
            d_cell[:, :size].addcmul_(d_cell_after, forget_after)
        d_inner.mul_(d_cell.unsqueeze(2))
        d_out.mul_(d_state)
        after = d_gate, d_cell, forget
