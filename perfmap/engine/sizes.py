"""How large a network is: its parameters and the arithmetic of one slice."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from perfmap.engine.train_config import default_inputs, network_arguments
from perfmap.models import build_network
from perfmap.models.card import InputContract
from perfmap.preprocess.features import channel_maps, context_length


@dataclass(frozen=True)
class Size:
    """Size of a network: numbers it learns, and multiply-adds for one slice of `matrix` × `matrix`."""

    parameters: int
    multiply_adds: int
    matrix: int
    n_times: int


def size_of(architecture: str) -> Size:
    """Size of a network with its own widths and inputs.

    Raises
    ------
    ModelError
        If the architecture is unknown.
    """
    inputs = default_inputs(architecture)
    network = build_network(architecture, **network_arguments(inputs))
    return Size(
        count_parameters(network), count_multiply_adds(network, inputs), inputs.matrix, inputs.n_times
    )


def count_parameters(network: nn.Module) -> int:
    """Numbers that the network learns."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(network: nn.Module, inputs: InputContract) -> int:
    """Multiply-adds of one slice that is all brain, counted by PyTorch's own counter (two operations each)."""
    from torch.utils.flop_counter import FlopCounterMode

    device = next(network.parameters()).device
    training = network.training
    network.eval()
    n_maps = len(channel_maps(inputs))
    channels = torch.ones(1, inputs.n_times + n_maps, inputs.matrix, inputs.matrix, device=device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(channels, torch.ones(1, context_length(inputs), device=device))
    network.train(training)
    return int(counter.get_total_flops() // 2)
