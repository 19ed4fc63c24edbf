"""A network that corrects the first-pass map: a temporal encoder for each voxel, then a small residual U-Net.

The first-pass integral is one of its inputs and the start of its output: the last layer begins at zero, so training
starts at the conventional map and learns only what is wrong with it. Full resolution is kept from end to end: the
encoder looks at single voxels, and the finest level of the U-Net has the input's own matrix. Levels are joined by
sums, which take half of the arithmetic of joining channels. Most blocks stand at the finest level, where they matter
most (``docs/networks.md``). Fully convolutional: it takes any matrix, and pads it to a multiple of 8 itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

LOG_SD_RANGE = (-5.0, 3.0)
_VOXELS_AT_ONCE = 2048
"""Voxels that pass the temporal encoder together on a processor: what lies between its layers stays in the cache."""


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions beside the identity; the second begins at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(functional.relu(x)).relu_())
        return y.add_(x)


def _blocks(width: int, number: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(width) for _ in range(number)))


def _pointwise(layer: nn.Module, x: Tensor) -> Tensor:
    """A 1 × 1 convolution; as one matrix product where the channels of a voxel lie side by side in memory."""
    assert isinstance(layer, nn.Conv2d)
    if not x.is_contiguous(memory_format=torch.channels_last):
        return layer(x)
    product = functional.linear(x.permute(0, 2, 3, 1), layer.weight[:, :, 0, 0], layer.bias)
    return product.permute(0, 3, 1, 2)


class VoxelUNet(nn.Module):
    """Voxelwise temporal encoder and residual U-Net, correcting the first-pass map.

    Parameters
    ----------
    n_times : int
        Time points of the curves.
    n_maps, n_scalars : int
        Channels behind the curves, the first of which is the first-pass map; numbers behind the validity: the
        protocol and, as far as the network reads them, the mean curve of tissue that does not leak and what is known
        of T1.
    n_hidden : int
        Width of the temporal encoder.
    widths : sequence of int
        Channels of the levels, the finest first; each level halves the matrix.
    blocks_down, blocks_up : sequence of int, optional
        Residual blocks at each level, the finest first: on the way down (one at the two finest levels and at the
        coarsest if not given), and on the way up, which has no coarsest level (two at the finest).

    Raises
    ------
    ValueError
        If the numbers of levels differ, or one of blocks is negative.
    """

    def __init__(
        self,
        *,
        n_times: int = 40,
        n_maps: int = 8,
        n_scalars: int = 7,
        n_hidden: int = 160,
        widths: Sequence[int] = (24, 48, 96, 128),
        blocks_down: Sequence[int] | None = None,
        blocks_up: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        w = tuple(widths)
        n = len(w)
        down = [int(i < 2 or i == n - 1) for i in range(n)] if blocks_down is None else list(blocks_down)
        up = [2 * int(i == 0) for i in range(n - 1)] if blocks_up is None else list(blocks_up)
        if (len(down), len(up)) != (n, n - 1):
            raise ValueError(f"{n} levels want {n} blocks_down and {n - 1} blocks_up")
        if min([*down, *up]) < 0:
            raise ValueError(f"blocks {down} and {up} hold a negative number")
        self.layout = {"n_hidden": n_hidden, "widths": list(w), "blocks_down": down, "blocks_up": up}
        self.n_times = n_times
        self.multiple = 2 ** (len(w) - 1)
        self.encoder_in = nn.Conv2d(n_times + n_maps, n_hidden, 1)
        self.context = nn.Linear(n_times + n_scalars, n_hidden)
        self.encoder_middle = nn.Conv2d(n_hidden, n_hidden, 1)
        self.encoder_out = nn.Conv2d(n_hidden, w[0], 1)
        self.enter = nn.ModuleList(map(_blocks, w, down))
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(w))
        self.up = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(w))
        self.leave = nn.ModuleList(map(_blocks, w, up))
        self.head = nn.Conv2d(w[0] + n_maps, 3, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, channels: Tensor, context: Tensor) -> Tensor:
        """Map, its uncertainty and white matter of a batch of slices.

        Parameters
        ----------
        channels : Tensor, shape (b, n_times + n_maps, h, w)
        context : Tensor, shape (b, n_times + n_scalars)

        Returns
        -------
        Tensor, shape (b, 3, h, w)
            The map (never negative), the logarithm of the standard deviation of its error, and the logit of
            normal-appearing white matter.
        """
        h, w = channels.shape[-2:]
        lacking = (0, -w % self.multiple, 0, -h % self.multiple)
        padded = functional.pad(channels, lacking) if any(lacking) else channels
        x = self.encode(padded, self.context(context))
        skips: list[Tensor] = []
        for i, block in enumerate(self.enter):
            x = block(x)
            if i < len(self.down):
                skips.append(x)
                x = self.down[i](x)  # (b, w[i+1], h/2, w/2)
        for i in reversed(range(len(self.leave))):
            risen = functional.interpolate(_pointwise(self.up[i], x), scale_factor=2, mode="nearest")
            x = risen.add_(skips[i])
            x = self.leave[i](x)
        maps = padded[:, self.n_times :]
        raw = _pointwise(self.head, torch.cat([functional.relu(x), maps], dim=1))[..., :h, :w]
        value = functional.softplus(maps[:, 0, :h, :w] + raw[:, 0], beta=10.0)
        return torch.stack([value, raw[:, 1].clamp(*LOG_SD_RANGE), raw[:, 2]], dim=1)

    def encode(self, channels: Tensor, told: Tensor) -> Tensor:
        """Pass the temporal encoder, voxel by voxel; those that are empty, outside of the brain, all at once.

        Parameters
        ----------
        channels : Tensor, shape (b, n_times + n_maps, h, w)
        told : Tensor, shape (b, n_hidden)
            What the whole series adds to every voxel.

        Returns
        -------
        Tensor, shape (b, widths[0], h, w)
        """
        into, between, out = (
            layer.weight.flatten(1) for layer in (self.encoder_in, self.encoder_middle, self.encoder_out)
        )
        at_once = _VOXELS_AT_ONCE if channels.device.type == "cpu" else channels[0, 0].numel()
        slices = []
        for voxels, of_series in zip(channels.permute(0, 2, 3, 1), told, strict=True):
            flat = voxels.flatten(0, 1)
            filled = flat.square().sum(dim=1).nonzero()[:, 0]  # brain; `any` takes six times as long
            parts = []
            read = torch.cat([torch.zeros_like(flat[:1]), flat.index_select(0, filled)])
            for part in torch.split(read, at_once):
                hidden = functional.linear(part, into, self.encoder_in.bias).add_(of_series).relu_()
                hidden = functional.linear(hidden, between, self.encoder_middle.bias).relu_()
                parts.append(functional.linear(hidden, out, self.encoder_out.bias))
            every = torch.cat(parts)
            slices.append(every[:1].expand(len(flat), -1).index_copy(0, filled, every[1:]))
        planes = torch.stack(slices).view(len(channels), *channels.shape[-2:], -1)
        return planes.permute(0, 3, 1, 2)
