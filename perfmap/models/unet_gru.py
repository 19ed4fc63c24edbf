"""UNet with a GRU at the bottleneck, the best network of Diumin & Alkhimova 2026.

What the paper fixes: time enters as channels, a first convolution halves the resolution, four residual
encoder blocks halve it again each (128 → 64 → 32 → 16 → 8 → 4), a GRU reads the 4 × 4 positions of the
512-channel map as a sequence of 16 steps, a symmetric decoder of transposed convolutions with skips leads
back to 128 × 128, a 1 × 1 convolution and a ReLU end it. scSE attention is an option, off by default.

What it leaves open, chosen here: 3 × 3 kernels, two convolutions a residual block, widths 32 … 512, batch
normalisation, transposed 2 × 2 convolutions, and the highest skip, at full resolution, which is
the input itself (`input_skip`). Ours is the validity row: which of the time points were measured; it enters as
a learned bias of the first convolution.

doi 10.15587/1729-4061.2026.360606; scSE: doi 10.1007/978-3-030-00928-1_48
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _conv(n_in: int, n_out: int, *, stride: int = 1) -> nn.Sequential:
    """3 × 3 convolution and batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel_size=3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(n_out)
    )


class SpatialChannelAttention(nn.Module):
    """scSE: the map weighted by channel and by position, the two added. Shape (b, c, h, w) kept."""

    def __init__(self, n_channels: int, *, reduction: int = 8) -> None:
        super().__init__()
        n_hidden = max(n_channels // reduction, 4)
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(n_channels, n_hidden, 1),
            nn.ReLU(),
            nn.Conv2d(n_hidden, n_channels, 1),
            nn.Sigmoid(),
        )
        self.position = nn.Sequential(nn.Conv2d(n_channels, 1, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.channel(x) + x * self.position(x)


class ResidualBlock(nn.Module):
    """Two convolutions beside a 1 × 1 short cut; `stride` 2 halves the resolution."""

    def __init__(self, n_in: int, n_out: int, *, stride: int, attention: bool) -> None:
        super().__init__()
        self.first = _conv(n_in, n_out, stride=stride)
        self.second = _conv(n_out, n_out)
        self.shortcut = nn.Conv2d(n_in, n_out, kernel_size=1, stride=stride)
        self.attention = SpatialChannelAttention(n_out) if attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(torch.relu(self.first(x)))
        return torch.relu(self.attention(y) + self.shortcut(x))


class DecoderBlock(nn.Module):
    """Transposed convolution to twice the resolution, joined with the skip of that level."""

    def __init__(self, n_in: int, n_skip: int, n_out: int, *, attention: bool) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(n_in, n_out, kernel_size=2, stride=2)
        self.join = _conv(n_out + n_skip, n_out)
        self.attention = SpatialChannelAttention(n_out) if attention else nn.Identity()

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = self.up(x)
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        joined: Tensor = self.attention(torch.relu(self.join(x)))
        return joined


class UNetGRU(nn.Module):
    """UNet + GRU.

    Parameters
    ----------
    n_times : int
        Time points, read as channels.
    widths : sequence of five int
        Channels after the first convolution and after each residual block; the last is what the GRU reads.
    attention : bool
        scSE in every block.
    input_skip : bool
        Join the input itself at full resolution; without it the finest skip has half the resolution.
    """

    def __init__(
        self,
        *,
        n_times: int = 45,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        attention: bool = False,
        input_skip: bool = True,
    ) -> None:
        super().__init__()
        if len(widths) != 5:
            raise ValueError(
                f"widths has {len(widths)} entries, wanted 5: the first convolution and four blocks"
            )
        w = tuple(widths)
        self.input_skip = input_skip
        self.validity = nn.Linear(n_times, w[0])
        self.stem = _conv(n_times, w[0], stride=2)
        self.encoder = nn.ModuleList(
            ResidualBlock(w[i], w[i + 1], stride=2, attention=attention) for i in range(4)
        )
        self.gru = nn.GRU(w[4], w[4], batch_first=True)
        self.decoder = nn.ModuleList(
            DecoderBlock(w[i + 1], w[i], w[i], attention=attention) for i in reversed(range(4))
        )
        self.top = DecoderBlock(w[0], n_times if input_skip else 0, w[0], attention=attention)
        self.head = nn.Conv2d(w[0], 1, kernel_size=1)
        nn.init.constant_(self.head.bias, 0.5)  # type: ignore[arg-type]  # starts on the live side of the ReLU

    def forward(self, curves: Tensor, valid: Tensor) -> Tensor:
        """Map of a batch of slices.

        Parameters
        ----------
        curves : Tensor, shape (b, n_times, h, w)
            Normalised curves; h and w multiples of 32.
        valid : Tensor, shape (b, n_times)
            1 where the time point was measured.

        Returns
        -------
        Tensor, shape (b, h, w)
            Never negative.
        """
        x = torch.relu(self.stem(curves) + self.validity(valid)[:, :, None, None])  # (b, w0, h/2, w/2)
        skips = [x]
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        b, c, h, w = skips.pop().shape  # (b, 512, h/32, w/32)
        sequence = x.flatten(2).transpose(1, 2)  # (b, 16, 512) for a 128 × 128 slice
        x = self.gru(sequence)[0].transpose(1, 2).reshape(b, c, h, w)
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            x = block(x, skip)
        x = self.top(x, curves if self.input_skip else None)  # (b, w0, h, w)
        return torch.relu(self.head(x))[:, 0]
