"""The hand-written recurrence is the plain loop of the equations, forwards and backwards."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from perfmap.models.conv_lstm import ConvLSTM, EncoderBlock
from perfmap.models.recurrence import FEW, conv_lstm


def plain_loop(x: Tensor, from_input: Tensor, bias: Tensor, from_state: Tensor, *, stride: int) -> Tensor:
    """The equations of a ConvLSTM without peepholes, one step after the other, left to autograd."""
    n = from_state.shape[1]
    states: list[Tensor] = []
    cell = hidden = torch.zeros(())
    for step in x.unbind(0):
        total = F.conv2d(step, from_input, bias, stride=stride, padding=1)
        if states:
            total = total + F.conv2d(hidden, from_state, padding=1)
        take, keep, give, fresh = total.split(n, dim=1)
        cell = torch.sigmoid(keep) * cell + torch.sigmoid(take) * torch.tanh(fresh)
        hidden = torch.sigmoid(give) * torch.tanh(cell)
        states.append(hidden)
    return torch.stack(states)


def parameters(n_in: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(5, 2, n_in, 9, 8), (12, n_in, 3, 3), (12,), (12, 3, 3, 3)]
    return [torch.randn(shape, dtype=dtype).mul(0.5).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("last_only", [True, False])
@pytest.mark.parametrize(("n_in", "stride"), [(FEW, 2), (FEW + 1, 2), (FEW + 1, 1)])
def test_states_and_gradients_are_those_of_the_plain_loop(n_in: int, stride: int, last_only: bool) -> None:
    given = parameters(n_in)
    wanted = plain_loop(*given, stride=stride)
    wanted = wanted[-1] if last_only else wanted
    found = conv_lstm(*given, stride=stride, last_only=last_only)
    assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-13)
    upstream = torch.randn_like(wanted)
    for one, two in zip(
        torch.autograd.grad((found * upstream).sum(), given),
        torch.autograd.grad((wanted * upstream).sum(), given),
        strict=True,
    ):
        assert torch.allclose(one, two, rtol=1e-10, atol=1e-11)


def test_gradients_of_the_weights_when_nothing_below_learns() -> None:
    """The first layer of a network: its input needs no gradient, and another way leads to the weights'."""
    given = parameters(2)
    still = given[0].detach()
    one = torch.autograd.grad(conv_lstm(still, *given[1:], stride=2, last_only=False).sum(), given[1:])
    two = torch.autograd.grad(plain_loop(still, *given[1:], stride=2).sum(), given[1:])
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-11) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("n_in", [2, FEW + 1])
def test_the_layers_of_a_block_are_two_plain_loops_over_the_same_input(n_in: int) -> None:
    torch.manual_seed(0)
    block = EncoderBlock(n_in, 3).double().eval()
    for still in (True, False):
        x = torch.randn(5, 2, n_in, 9, 8, dtype=torch.float64, requires_grad=not still)
        layers = [block.to_skip, block.to_sequence]
        one, two = (
            plain_loop(x, layer.from_input, layer.bias, layer.from_state, stride=2) for layer in layers
        )
        found = block(x)
        wanted = (block.sequence_norm(two.flatten(0, 1)).view_as(two), block.skip_norm(one[-1]))
        learned = [*block.to_skip.parameters(), *block.to_sequence.parameters(), *([] if still else [x])]
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)
        gradients = [
            torch.autograd.grad(sum((image**2).sum() for image in images), learned)
            for images in (found, wanted)
        ]
        for a, b in zip(*gradients, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_without_gradients_the_states_are_the_same() -> None:
    given = parameters(2)
    with torch.no_grad():
        still = conv_lstm(*given, stride=2, last_only=False)
    assert torch.equal(still, conv_lstm(*given, stride=2, last_only=False))


@pytest.mark.parametrize("n_in", [2, 6])
def test_bf16_is_near(n_in: int) -> None:
    given = parameters(n_in, torch.float32)
    whole = conv_lstm(*given, stride=1, last_only=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = conv_lstm(*given, stride=1, last_only=False)
    assert half.dtype == torch.float32
    assert 0 < (half - whole).abs().max() < 0.05
    half.sum().backward()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in given)


def test_order_of_time_matters_and_the_future_does_not() -> None:
    torch.manual_seed(0)
    layer = ConvLSTM(2, 3, stride=1, last_only=False)
    x = torch.randn(5, 1, 2, 8, 8)
    with torch.no_grad():
        assert not torch.allclose(layer(x)[-1], layer(x.flip(0))[-1])
        assert torch.equal(layer(x)[2], layer(torch.cat([x[:3], torch.randn(2, 1, 2, 8, 8)]))[2])
