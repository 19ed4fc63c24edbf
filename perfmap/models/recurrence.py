"""The recurrence of a ConvLSTM layer with its backward pass written by hand.

In a plain loop autograd allocates, stacks and zero-fills what it keeps of every step, and takes the weights' gradients
step by step. Here all steps share a few buffers, gates are squashed in place, and the weights' gradients are taken
once, over all steps together. The four gates pass one sigmoid, by tanh(a) = 1 − 2·σ(−2a).

ConvLSTM: arXiv 1506.04214, without peepholes, as Keras has it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

FEW = 4
"""Up to so many input channels a matrix product of patches is three times as fast as the library's convolution."""

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_convolution_backward = torch.ops.aten.convolution_backward


def patches_of(x: Tensor, *, stride: int) -> Tensor | None:
    """What the input's convolution reads, for layers that share an input; None where its channels are not few.

    Parameters
    ----------
    x : Tensor, shape (t, b, n_in, h, w)
    stride : int

    Returns
    -------
    Tensor, shape (t · b, 9 · n_in, h' · w'), or None
        No gradient passes through it: `conv_lstm` takes that of `x` another way.
    """
    return _patches(x, stride=stride, precision=_precision(x))


def conv_lstm(
    x: Tensor,
    from_input: Tensor,
    bias: Tensor,
    from_state: Tensor,
    *,
    stride: int,
    last_only: bool,
    patches: Tensor | None = None,
) -> Tensor:
    """States of a ConvLSTM layer that starts from zero.

    Gates, along the channels of the weights: what is taken in, what is kept, what is given out, what is fresh. Under
    autocast the convolutions run in its type, everything else stays as it is.

    Parameters
    ----------
    x : Tensor, shape (t, b, n_in, h, w)
    from_input : Tensor, shape (4 · n_hidden, n_in, 3, 3)
    bias : Tensor, shape (4 · n_hidden,)
    from_state : Tensor, shape (4 · n_hidden, n_hidden, 3, 3)
    stride : int
        Spatial stride of the input's convolution.
    last_only : bool
    patches : Tensor, optional
        `patches_of` the same input and stride, if another layer reads it too.

    Returns
    -------
    Tensor, shape (t, b, n_hidden, h', w') or (b, n_hidden, h', w')
        The states of all times, or the last one.
    """
    if patches is None:
        patches = patches_of(x, stride=stride)
    states: Tensor = _Recurrence.apply(  # type: ignore[no-untyped-call]
        x, patches, from_input, bias, from_state, stride, last_only, _precision(x)
    )
    return states


@torch.no_grad()
def _patches(x: Tensor, *, stride: int, precision: torch.dtype) -> Tensor | None:
    if x.shape[2] > FEW:
        return None
    return F.unfold(x.flatten(0, 1).to(precision), 3, padding=1, stride=stride)


def _precision(x: Tensor) -> torch.dtype:
    """Type of the convolutions."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        patches: Tensor | None,
        from_input: Tensor,
        bias: Tensor,
        from_state: Tensor,
        stride: int,
        last_only: bool,
        precision: torch.dtype,
    ) -> Tensor:
        t, b = x.shape[:2]
        n_hidden = from_state.shape[1]
        learns = any(ctx.needs_input_grad)
        factor = _per_gate(from_state, -2.0)
        weight = (from_state * factor).to(precision)
        gates = _convolve(
            x,
            patches,
            (from_input * factor).to(precision),
            (bias * factor.flatten()).to(precision),
            stride=stride,
        )
        gates = gates.to(x.dtype).view(t, b, *gates.shape[1:])  # (t, b, 4 n_hidden, h', w')
        shape = (b, n_hidden, *gates.shape[3:])
        hidden = x.new_empty((t, *shape))
        # Without a backward pass two cell states are enough: the last and the one being made.
        cells = x.new_empty((t if learns else 2, *shape))
        squashed = x.new_empty((t if learns else 1, *shape))
        for step in range(t):
            gate, cell = gates[step], cells[step % len(cells)]
            if step:
                gate += F.conv2d(hidden[step - 1].to(precision), weight, padding=1)
            gate.sigmoid_()
            take, keep, give, fresh = _gates(gate)  # (b, n_hidden, h', w') each
            torch.addcmul(take, take, fresh, value=-2, out=cell)
            if step:
                cell.addcmul_(keep, cells[(step - 1) % len(cells)])
            minus = squashed[step % len(squashed)]
            torch.mul(cell, -2, out=minus).sigmoid_()
            torch.addcmul(give, give, minus, value=-2, out=hidden[step])
        if learns:
            if ctx.needs_input_grad[0]:
                patches = None  # the weights' gradient then comes with that of the input
            ctx.save_for_backward(x, patches, from_input, from_state, gates, hidden, cells, squashed)
            ctx.settings = (stride, last_only, precision)
        return hidden[-1].clone() if last_only else hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, patches, from_input, from_state, gates, hidden, cells, squashed = ctx.saved_tensors
        stride, last_only, precision = ctx.settings
        t = len(gates)
        # The gradient of the fresh gate is kept at a quarter of its size; the weights make up for it.
        factor = _per_gate(from_state, 4.0)
        back = (from_state * factor).flip(2, 3).transpose(0, 1).contiguous().to(precision)
        slopes = torch.empty_like(gates)
        d_cell = torch.zeros_like(cells[0])
        scratch = torch.empty_like(d_cell)
        d_hidden = gradient.contiguous() if last_only else gradient[-1]
        for step in reversed(range(t)):
            gate, minus, slope = gates[step], squashed[step], slopes[step]
            take, keep, give, fresh = _gates(gate)
            d_take, d_keep, d_give, d_fresh = _gates(slope)
            torch.addcmul(d_hidden, d_hidden, minus, value=-2, out=d_give)
            torch.mul(d_hidden, give, out=scratch)
            _sigmoid_backward(scratch, minus, grad_input=scratch)
            d_cell.add_(scratch, alpha=4)
            torch.addcmul(d_cell, d_cell, fresh, value=-2, out=d_take)
            torch.mul(d_cell, take, out=d_fresh)
            if step:
                torch.mul(d_cell, cells[step - 1], out=d_keep)
            else:
                d_keep.zero_()
            _sigmoid_backward(slope, gate, grad_input=slope)
            if step:
                d_cell.mul_(keep)
                d_hidden = F.conv2d(slope.to(precision), back, padding=1).to(x.dtype)
                if not last_only:
                    d_hidden += gradient[step - 1]
        _, d_state, _ = _weight_gradient(
            slopes[1:], hidden[:-1], None, from_state, stride=1, precision=precision
        )
        d_x, d_input, d_bias = _weight_gradient(
            slopes,
            x,
            patches,
            from_input * factor,
            stride=stride,
            precision=precision,
            wanted=ctx.needs_input_grad[0],
        )
        return d_x, None, d_input * factor, d_bias * factor.flatten(), d_state * factor, None, None, None


def _weight_gradient(
    slopes: Tensor,
    x: Tensor,
    patches: Tensor | None,
    weight: Tensor,
    *,
    stride: int,
    precision: torch.dtype,
    wanted: bool = False,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Gradients of a convolution's input (where `wanted`), weight and bias, over all times at once."""
    n_out = len(weight)
    if patches is None and not wanted:
        patches = _patches(x, stride=stride, precision=precision)
    if patches is not None:
        flat = slopes.flatten(0, 1).flatten(2).to(precision)  # (n, n_out, pixels)
        product = torch.bmm(flat, patches.transpose(1, 2)).sum(0)
        return None, product.view_as(weight).to(weight.dtype), slopes.sum((0, 1, 3, 4))
    d_x, d_weight, d_bias = _convolution_backward(
        slopes.flatten(0, 1).to(precision),
        x.flatten(0, 1).to(precision),
        weight.to(precision),
        [n_out],
        [stride, stride],
        [1, 1],
        [1, 1],
        False,
        [0, 0],
        1,
        [wanted, True, True],
    )
    back = None if d_x is None else d_x.to(x.dtype).view_as(x)
    return back, d_weight.to(weight.dtype), d_bias.to(weight.dtype)


def _convolve(x: Tensor, patches: Tensor | None, weight: Tensor, bias: Tensor, *, stride: int) -> Tensor:
    """3 × 3 convolution of an input (t, b, n_in, h, w), by its patches where there are any: (t · b, n_out, h', w')."""
    if patches is None:
        return F.conv2d(x.flatten(0, 1).to(weight.dtype), weight, bias, stride=stride, padding=1)
    product = torch.bmm(weight.flatten(1).expand(len(patches), -1, -1), patches)
    product += bias[:, None]
    height, width = ((edge - 1) // stride + 1 for edge in x.shape[3:])
    return product.view(*product.shape[:2], height, width)


def _gates(gate: Tensor) -> tuple[Tensor, ...]:
    """The four gates as views, shape (b, n_hidden, h, w) each."""
    return gate.view(len(gate), 4, -1, *gate.shape[2:]).unbind(1)


def _per_gate(from_state: Tensor, last: float) -> Tensor:
    """1 for three gates and `last` for the fresh one. Shape (4 n_hidden, 1, 1, 1)."""
    factor = from_state.new_ones(len(from_state), 1, 1, 1)
    factor[3 * from_state.shape[1] :] = last
    return factor
