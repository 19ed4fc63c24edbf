"""ConvLSTM2D, the convolutional recurrent network of Diumin & Alkhimova 2026.

What the paper fixes: four encoder blocks of two ConvLSTM layers, both reading the block's input sequence with
spatial stride 2; one returns its last hidden state alone (the skip), the other the whole sequence (to the next
block); batch normalisation after every recurrent layer; a bottleneck ConvLSTM that reads the whole sequence and
returns 8 × 8 × 1; a decoder of transposed 2D convolutions joined with the skips; 1 × 1 convolution, ReLU.

What it leaves open, chosen here: kernels of 3, widths 16, 8, 4, 2 and a bottleneck of 1, one 3 × 3 convolution
after each join. Ours is the validity row, a second input channel.

The input is convolved for all time steps at once; the recurrence is `perfmap.models.recurrence`. The two layers of a
block share the patches of their input, where it has few channels, and run one after the other, not as one recurrence
with grouped convolutions: those reached 28 GFLOP/s on one core where two plain ones reached 64 (16 to 64 channels,
64 × 64, float32, AVX2).

doi 10.15587/1729-4061.2026.360606; ConvLSTM: arXiv 1506.04214
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from perfmap.models.recurrence import conv_lstm, patches_of


class ConvLSTM(nn.Module):
    """A ConvLSTM layer.

    Parameters
    ----------
    n_in : int
        Channels of the input.
    n_hidden : int
        Channels of the state.
    stride : int
        Spatial stride of the input convolution.
    last_only : bool
        Return the last state alone.
    """

    def __init__(self, n_in: int, n_hidden: int, *, stride: int, last_only: bool) -> None:
        super().__init__()
        self.stride, self.last_only = stride, last_only
        self.from_input = nn.Parameter(torch.empty(4 * n_hidden, n_in, 3, 3))
        self.from_state = nn.Parameter(torch.empty(4 * n_hidden, n_hidden, 3, 3))
        self.bias = nn.Parameter(torch.zeros(4 * n_hidden))
        nn.init.xavier_uniform_(self.from_input)
        for gate in range(4):
            nn.init.orthogonal_(self.from_state.detach()[gate * n_hidden : (gate + 1) * n_hidden])
        with torch.no_grad():  # a gate that starts by keeping
            self.bias[n_hidden : 2 * n_hidden] = 1.0

    def forward(self, x: Tensor, patches: Tensor | None = None) -> Tensor:
        """(t, b, n_in, h, w) → (t, b, n_hidden, h', w'), or (b, n_hidden, h', w') for the last state alone."""
        return conv_lstm(
            x,
            self.from_input,
            self.bias,
            self.from_state,
            stride=self.stride,
            last_only=self.last_only,
            patches=patches,
        )


class EncoderBlock(nn.Module):
    """Two layers over the same sequence, at half its resolution: a skip, and the sequence for the next block."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.to_skip = ConvLSTM(n_in, n_out, stride=2, last_only=True)
        self.skip_norm = nn.BatchNorm2d(n_out)
        self.to_sequence = ConvLSTM(n_in, n_out, stride=2, last_only=False)
        self.sequence_norm = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        patches = patches_of(x, stride=2)  # both layers read the same
        skip = self.skip_norm(self.to_skip(x, patches))  # (b, n_out, h/2, w/2)
        sequence = self.to_sequence(x, patches)  # (t, b, n_out, h/2, w/2)
        return self.sequence_norm(sequence.flatten(0, 1)).view_as(sequence), skip


class ConvLSTM2D(nn.Module):
    """ConvLSTM2D.

    Parameters
    ----------
    n_times : int
        Time points; any number works, the parameter is there for symmetry with the other networks.
    widths : sequence of int
        Channels of the encoder blocks, first to last.
    n_bottleneck : int
        Channels of the bottleneck.
    """

    def __init__(
        self, *, n_times: int = 45, widths: Sequence[int] = (16, 8, 4, 2), n_bottleneck: int = 1
    ) -> None:
        super().__init__()
        del n_times  # the recurrence takes any number
        sizes = [2, *widths]
        self.encoder = nn.ModuleList(EncoderBlock(sizes[i], sizes[i + 1]) for i in range(len(widths)))
        self.bottleneck = ConvLSTM(sizes[-1], n_bottleneck, stride=1, last_only=True)
        self.bottleneck_norm = nn.BatchNorm2d(n_bottleneck)
        self.join = nn.ModuleList()
        self.up = nn.ModuleList()
        n_in = n_bottleneck
        for n_out in reversed(widths):
            self.join.append(nn.Conv2d(n_in + n_out, n_out, kernel_size=3, padding=1))
            self.up.append(nn.ConvTranspose2d(n_out, n_out, kernel_size=2, stride=2))
            n_in = n_out
        self.head = nn.Conv2d(n_in, 1, kernel_size=1)
        nn.init.constant_(self.head.bias, 0.5)  # type: ignore[arg-type]  # starts on the live side of the ReLU

    def forward(self, curves: Tensor, valid: Tensor) -> Tensor:
        """Map of a batch of slices; shapes as in `perfmap.models.unet_gru.UNetGRU.forward`."""
        measured = valid[:, :, None, None].expand_as(curves)
        x = torch.stack([curves, measured], dim=2).transpose(0, 1)  # (t, b, 2, h, w)
        skips = []
        for block in self.encoder:
            x, skip = block(x)
            skips.append(skip)
        y = self.bottleneck_norm(self.bottleneck(x))  # (b, 1, h/16, w/16)
        for join, up, skip in zip(self.join, self.up, reversed(skips), strict=True):
            y = up(torch.relu(join(torch.cat([y, skip], dim=1))))
        return torch.relu(self.head(y))[:, 0]
