"""ConvLSTM2D, the convolutional recurrent network of Diumin & Alkhimova 2026.

What the paper fixes: four encoder blocks of two ConvLSTM layers, both reading the block's input sequence with
spatial stride 2; one returns its last hidden state alone (the skip), the other the whole sequence (to the next
block); batch normalisation after every recurrent layer; a bottleneck ConvLSTM that reads the whole sequence and
returns 8 × 8 × 1; a decoder of transposed 2D convolutions joined with the skips; 1 × 1 convolution, ReLU.

What it leaves open, chosen here: kernels of 3, widths 16, 8, 4, 2 and a bottleneck of 1, one 3 × 3 convolution
after each join. Ours is the validity row, a second input channel.

Both layers of a block read the same input and differ only in their weights, so they run as one recurrence with
grouped hidden convolutions, and the input is convolved for all time steps at once.

doi 10.15587/1729-4061.2026.360606; ConvLSTM: arXiv 1506.04214
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ConvLSTM(nn.Module):
    """One or more ConvLSTM layers side by side over the same input sequence.

    Parameters
    ----------
    n_in : int
        Channels of the input.
    n_hidden : int
        Channels of each layer's state.
    n_layers : int
        Layers side by side, strangers to each other.
    stride : int
        Spatial stride of the input convolution.
    """

    def __init__(self, n_in: int, n_hidden: int, *, n_layers: int, stride: int) -> None:
        super().__init__()
        n_gates = 4 * n_hidden * n_layers
        self.n_hidden, self.n_layers = n_hidden, n_layers
        self.from_input = nn.Conv2d(n_in, n_gates, kernel_size=3, stride=stride, padding=1)
        self.from_state = nn.Conv2d(
            n_hidden * n_layers, n_gates, kernel_size=3, padding=1, groups=n_layers, bias=False
        )
        with torch.no_grad():  # a forget gate that starts open
            gates = self.from_input.bias.view(n_layers, 4, n_hidden)  # type: ignore[union-attr]
            gates[:, 1] = 1.0

    def forward(self, x: Tensor) -> list[Tensor]:
        """States of all layers at every time.

        Parameters
        ----------
        x : Tensor, shape (t, b, n_in, h, w)

        Returns
        -------
        list of Tensor
            One a time step, shape (b, n_layers · n_hidden, h', w').
        """
        t, b = x.shape[:2]
        gates = self.from_input(x.flatten(0, 1)).unflatten(0, (t, b))  # (t, b, gates, h', w')
        cell = hidden = None
        states = []
        for now in gates.unbind(0):
            total = now if hidden is None else now + self.from_state(hidden)
            parts = total.unflatten(
                1, (self.n_layers, 4, self.n_hidden)
            )  # (b, layer, gate, n_hidden, h', w')
            take, keep, give = torch.sigmoid(parts[:, :, :3]).unbind(2)
            fresh = take * torch.tanh(parts[:, :, 3])
            cell = fresh if cell is None else keep * cell + fresh
            hidden = (give * torch.tanh(cell)).flatten(1, 2)
            states.append(hidden)
        return states


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
        self.encoder = nn.ModuleList(
            ConvLSTM(sizes[i], sizes[i + 1], n_layers=2, stride=2) for i in range(len(widths))
        )
        self.skip_norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.sequence_norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.bottleneck = ConvLSTM(sizes[-1], n_bottleneck, n_layers=1, stride=1)
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
        for block, skip_norm, sequence_norm in zip(
            self.encoder, self.skip_norms, self.sequence_norms, strict=True
        ):
            states = block(x)
            width = states[0].shape[1] // 2
            skips.append(skip_norm(states[-1][:, :width]))  # (b, width, h', w')
            sequence = torch.stack([state[:, width:] for state in states])  # (t, b, width, h', w')
            x = sequence_norm(sequence.flatten(0, 1)).unflatten(0, sequence.shape[:2])
        y = self.bottleneck_norm(self.bottleneck(x)[-1])  # (b, 1, h/16, w/16)
        for join, up, skip in zip(self.join, self.up, reversed(skips), strict=True):
            y = up(torch.relu(join(torch.cat([y, skip], dim=1))))
        return torch.relu(self.head(y))[:, 0]
