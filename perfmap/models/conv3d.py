"""Conv3D, the network without recurrence of Diumin & Alkhimova 2026: the baseline of their comparison.

What the paper fixes: four encoder blocks, in each (a) a 3D convolution that spans the whole time axis and takes
it to length 1, the block's 2D skip, and (b) a 3D convolution of small kernel and spatial stride 2 that keeps time
and feeds the next block (128 → 64 → 32 → 16 → 8); filters that fall from 16 to 1; a bottleneck convolution over
all of time; a decoder of transposed 2D convolutions, each joined with the skip of its level; 1 × 1 convolution, ReLU.

What it leaves open, chosen here: kernels of 3 in space and, in (b), in time; widths 16, 8, 4, 2 and a bottleneck
of 1; batch normalisation; one 3 × 3 convolution after each join. Ours is the validity row, a second input channel.

doi 10.15587/1729-4061.2026.360606
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class AllOfTime(nn.Conv3d):
    """A 3 × 3 convolution over the plane whose kernel spans all of time: (b, n_in, t, h, w) to (b, n_out, h, w).

    Computed as one over the plane with n_in · t channels, which has the same weights and sums and is faster.
    """

    def __init__(self, n_in: int, n_out: int, *, n_times: int, bias: bool = True) -> None:
        super().__init__(n_in, n_out, (n_times, 3, 3), padding=(0, 1, 1), bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x.flatten(1, 2), self.weight.flatten(1, 2), self.bias, padding=1)


class EncoderBlock(nn.Module):
    """One level: all of time into a 2D skip, and half the resolution for the next level."""

    def __init__(self, n_in: int, n_out: int, *, n_times: int) -> None:
        super().__init__()
        self.over_time = AllOfTime(n_in, n_out, n_times=n_times, bias=False)
        self.skip_norm = nn.BatchNorm2d(n_out)
        self.halve = nn.Conv3d(n_in, n_out, 3, stride=(1, 2, 2), padding=1, bias=False)
        self.halve_norm = nn.BatchNorm3d(n_out)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skip = torch.relu(self.skip_norm(self.over_time(x)))  # (b, n_out, h, w)
        return torch.relu(self.halve_norm(self.halve(x))), skip  # (b, n_out, t, h/2, w/2)


class Conv3D(nn.Module):
    """Conv3D.

    Parameters
    ----------
    n_times : int
        Time points.
    widths : sequence of int
        Filters of the encoder blocks, first to last.
    n_bottleneck : int
        Filters of the bottleneck.
    """

    def __init__(
        self, *, n_times: int = 45, widths: Sequence[int] = (16, 8, 4, 2), n_bottleneck: int = 1
    ) -> None:
        super().__init__()
        sizes = [2, *widths]
        self.encoder = nn.ModuleList(
            EncoderBlock(sizes[i], sizes[i + 1], n_times=n_times) for i in range(len(widths))
        )
        self.bottleneck = AllOfTime(sizes[-1], n_bottleneck, n_times=n_times)
        self.up = nn.ModuleList()
        self.join = nn.ModuleList()
        n_in = n_bottleneck
        for n_out in reversed(widths):
            self.up.append(nn.ConvTranspose2d(n_in, n_out, kernel_size=2, stride=2))
            self.join.append(nn.Conv2d(2 * n_out, n_out, kernel_size=3, padding=1))
            n_in = n_out
        self.head = nn.Conv2d(n_in, 1, kernel_size=1)
        nn.init.constant_(self.head.bias, 0.5)  # type: ignore[arg-type]  # starts on the live side of the ReLU

    def forward(self, curves: Tensor, valid: Tensor) -> Tensor:
        """Map of a batch of slices; shapes as in `perfmap.models.unet_gru.UNetGRU.forward`."""
        measured = valid[:, :, None, None].expand_as(curves)
        x = torch.stack([curves, measured], dim=1)  # (b, 2, t, h, w)
        skips = []
        for block in self.encoder:
            x, skip = block(x)
            skips.append(skip)
        y = torch.relu(self.bottleneck(x))  # (b, 1, h/16, w/16)
        for up, join, skip in zip(self.up, self.join, reversed(skips), strict=True):
            y = torch.relu(join(torch.cat([up(y), skip], dim=1)))
        return torch.relu(self.head(y))[:, 0]
