"""The network that corrects the first-pass map."""

import pytest
import torch

from perfmap.models.voxel_unet import VoxelUNet
from perfmap.preprocess.features import MAPS, SCALARS


@pytest.fixture
def network() -> VoxelUNet:
    torch.manual_seed(0)
    return VoxelUNet(n_times=20, n_maps=len(MAPS), n_scalars=len(SCALARS), widths=(8, 16, 16, 16)).eval()


def channels(b: int = 2, h: int = 48, w: int = 40) -> torch.Tensor:
    return torch.rand(b, 20 + len(MAPS), h, w)


def context(b: int = 2) -> torch.Tensor:
    return torch.ones(b, 20 + len(SCALARS))


def test_untrained_it_gives_the_first_pass_map_back(network: VoxelUNet) -> None:
    x = channels() + 1.0
    with torch.no_grad():
        value, log_sd, logit = network(x, context()).unbind(1)
    assert torch.allclose(value, x[:, 20], atol=1e-4)
    assert (log_sd == 0).all()
    assert (logit == 0).all()


@pytest.mark.parametrize("shape", [(37, 53), (64, 64), (8, 120)])
def test_any_matrix_keeps_its_size(network: VoxelUNet, shape: tuple[int, int]) -> None:
    with torch.no_grad():
        assert network(channels(1, *shape), context(1)).shape == (1, 3, *shape)


def test_a_map_is_never_negative_and_every_weight_learns(network: VoxelUNet) -> None:
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    image = network(channels() - 0.5, context())
    assert (image[:, 0] >= 0).all()
    image.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_far_away_pixels_and_other_slices_do_not_matter(network: VoxelUNet) -> None:
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x = channels(2, 256, 32)
    changed = x.clone()
    changed[0, :, :8] += 1.0
    with torch.no_grad():
        before, after = network(x, context()), network(changed, context())
    assert torch.allclose(before[0, :, 192:], after[0, :, 192:], atol=1e-4)
    assert torch.allclose(before[1], after[1], atol=1e-4)
    assert not torch.allclose(before[0, :, :8], after[0, :, :8], atol=1e-2)


def test_blocks_stand_where_they_are_asked_for() -> None:
    network = VoxelUNet(widths=(8, 16), blocks_down=(2, 1), blocks_up=(3,))
    assert [len(blocks) for blocks in network.enter] == [2, 1]
    assert [len(blocks) for blocks in network.leave] == [3]
    usual = VoxelUNet(widths=(8, 8, 8, 8))
    assert [len(blocks) for blocks in usual.enter] == [1, 1, 0, 1]
    assert [len(blocks) for blocks in usual.leave] == [2, 0, 0]
    with pytest.raises(ValueError, match="2 levels want 2 blocks_down and 1 blocks_up"):
        VoxelUNet(widths=(8, 16), blocks_down=(2, 1), blocks_up=(3, 1))
    with pytest.raises(ValueError, match="negative"):
        VoxelUNet(widths=(8, 16), blocks_down=(2, 1), blocks_up=(-1,))
    assert [len(blocks) for blocks in VoxelUNet(widths=(8,)).enter] == [1]  # no level below
    again = VoxelUNet(**network.layout)
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in network.state_dict().items()
    }


@pytest.mark.parametrize("filled", ["all", "half", "none"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("nan", [0.5, torch.nan])
def test_the_temporal_encoder_is_three_pointwise_layers_whatever_is_computed_at_once(
    filled: str, layout: torch.memory_format, nan: float
) -> None:
    torch.manual_seed(0)
    network = VoxelUNet(n_times=12, n_hidden=16)
    seen = torch.randn(2, 12 + 8, 40, 56)  # 2240 voxels: more than are taken at once
    if filled == "half":
        seen *= torch.rand(2, 1, 40, 56) < 0.5
        seen[0, 3, 20, 20] = nan
    elif filled == "none":
        seen[1] = 0.0
    seen = seen.contiguous(memory_format=layout)
    told = torch.randn(2, 16)
    hidden = (network.encoder_in(seen) + told[:, :, None, None]).relu()
    plain = network.encoder_out(network.encoder_middle(hidden).relu())
    found = network.encode(seen, told)
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5, equal_nan=True)
    assert int(found.isnan().any(dim=1).sum()) == int(filled == "half" and nan != nan)  # there alone
    layers = [network.encoder_in, network.encoder_middle, network.encoder_out]
    upstream = torch.randn_like(plain)
    for layer in layers:
        one, two = (
            torch.autograd.grad((image.nan_to_num() * upstream).sum(), layer.weight, retain_graph=True)[0]
            for image in (found, plain)
        )
        if nan == nan:
            torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-3)
