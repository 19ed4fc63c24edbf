"""What holds for each of the paper's three networks, and what sets Conv3D and ConvLSTM2D apart."""

import pytest
import torch

from perfmap.models import build_network
from perfmap.models.conv3d import AllOfTime

PAPER = ("conv3d", "convlstm", "unet-gru")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", PAPER)
def test_a_map_per_slice_never_negative_each_on_its_own(name: str) -> None:
    network = build_network(name, n_times=20).eval()
    curves, valid = torch.randn(2, 20, 64, 64), torch.ones(2, 20)
    with torch.no_grad():
        image = network(curves, valid)
        alone = network(curves[1:], valid[1:])
    assert image.shape == (2, 64, 64)
    assert (image >= 0).all()
    assert image.std() > 0
    assert torch.allclose(image[1:], alone, atol=1e-5)


@pytest.mark.parametrize("name", PAPER)
def test_every_weight_learns(name: str) -> None:
    network = build_network(name, n_times=20)
    network(torch.randn(4, 20, 64, 64), torch.rand(4, 20).round()).sum().backward()
    silent = [key for key, weight in network.named_parameters() if weight.grad is None]
    assert not silent


@pytest.mark.parametrize("name", ["conv3d", "convlstm"])
def test_encoder_halves_128_to_8_with_skips_of_falling_width(name: str) -> None:
    network = build_network(name, n_times=20).eval()
    shapes: list[tuple[int, ...]] = []

    def record(module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: object) -> None:
        shapes.append(tuple(args[0].shape[-2:]))

    for block in network.encoder:
        block.register_forward_hook(record)
    network.bottleneck.register_forward_hook(record)
    with torch.no_grad():
        network(torch.randn(1, 20, 128, 128), torch.ones(1, 20))
    assert shapes == [(128, 128), (64, 64), (32, 32), (16, 16), (8, 8)]


def test_all_of_time_is_the_3d_convolution_that_it_stands_for() -> None:
    torch.manual_seed(0)
    layer, x = AllOfTime(3, 4, n_times=10), torch.randn(2, 3, 10, 8, 6)
    torch.testing.assert_close(layer(x), torch.nn.Conv3d.forward(layer, x)[:, :, 0], atol=1e-5, rtol=1e-5)
