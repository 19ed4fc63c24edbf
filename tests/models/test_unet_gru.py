"""UNet+GRU: the paper's shapes, and what must not matter."""

import pytest
import torch

from perfmap.errors import ModelError
from perfmap.models import build_network

SMALL = {"widths": (4, 8, 8, 16, 16)}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_bottleneck_is_a_sequence_of_16_steps_of_512() -> None:
    network = build_network("unet-gru").eval()
    seen: list[tuple[int, ...]] = []
    network.gru.register_forward_hook(lambda module, args, output: seen.append(tuple(args[0].shape)))
    with torch.no_grad():
        image = network(torch.randn(2, 45, 128, 128), torch.ones(2, 45))
    assert seen == [(2, 16, 512)]
    assert image.shape == (2, 128, 128)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("input_skip", [False, True])
def test_map_is_never_negative(attention: bool, input_skip: bool) -> None:
    network = build_network("unet-gru", attention=attention, input_skip=input_skip, **SMALL).eval()
    with torch.no_grad():
        image = network(10 * torch.randn(3, 45, 64, 64), torch.ones(3, 45))
    assert (image >= 0).all()
    assert image.std() > 0


def test_slices_of_a_batch_do_not_see_each_other() -> None:
    network = build_network("unet-gru", **SMALL).eval()
    curves, valid = torch.randn(3, 45, 64, 64), torch.rand(3, 45).round()
    with torch.no_grad():
        together = network(curves, valid)
        alone = torch.cat([network(curves[i : i + 1], valid[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_validity_row_reaches_the_map() -> None:
    network = build_network("unet-gru", **SMALL).eval()
    curves = torch.randn(1, 45, 64, 64)
    with torch.no_grad():
        assert not torch.equal(network(curves, torch.ones(1, 45)), network(curves, torch.zeros(1, 45)))


def test_gru_carries_one_corner_to_the_other() -> None:
    """The last of the 16 positions depends on the first one: that is what the recurrence is for."""
    network = build_network("unet-gru", **SMALL).eval()
    sequence = torch.zeros(1, 16, 16)
    moved = sequence.clone()
    moved[0, 0] = 1.0
    with torch.no_grad():
        assert not torch.equal(network.gru(sequence)[0][0, -1], network.gru(moved)[0][0, -1])


def test_unknown_names_and_arguments_are_refused() -> None:
    with pytest.raises(ModelError, match="choose one of"):
        build_network("transformer")
    with pytest.raises(ModelError, match="wanted 5"):
        build_network("unet-gru", widths=(8, 8))
    with pytest.raises(ModelError, match="does not take"):
        build_network("unet-gru", depth=3)
