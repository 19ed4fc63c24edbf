"""Scores and loss of a network over slices, and the running mean of its weights that is scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from perfmap.engine.batches import Batch, to_tensors
from perfmap.engine.dataset import Stack
from perfmap.engine.forward import memory_layout
from perfmap.engine.losses import correction_loss, weighted_mse
from perfmap.engine.processes import Processes
from perfmap.engine.run_folder import Scores
from perfmap.engine.train_config import TrainConfig


def loss_of(predicted: Tensor, batch: Batch, device: torch.device) -> Tensor:
    """Loss of a network's output: of a map alone, or of a map with its uncertainty and white matter."""
    target, weight = batch.target.to(device), batch.weight.to(device)
    if predicted.ndim == 3:
        return weighted_mse(predicted, target, weight)
    return correction_loss(
        predicted,
        target,
        weight,
        tissue=batch.tissue.to(device),
        lesion=batch.lesion.to(device),
        white=batch.white.to(device),
        inside=batch.inside.to(device),
    )


@torch.no_grad()
def evaluate(
    network: nn.Module,
    weights: dict[str, Tensor],
    stacks: Sequence[Stack],
    config: TrainConfig,
    processes: Processes,
) -> Scores:
    """Scores of `weights` over `stacks`, each process taking its share; the network keeps its own weights and mode."""
    device = processes.device
    own = copy_state(network)
    training = network.training
    network.load_state_dict(weights)
    network.eval()
    squared = reference = absolute = n_brain = loss = n_weight = 0.0
    for stack in processes.share(stacks):
        batch = to_tensors(stack, np.arange(len(stack)), config)
        output = network(
            batch.channels.to(device, memory_format=memory_layout(config.inputs)), batch.context.to(device)
        )
        output, target, weight = output.float().cpu(), batch.target, batch.weight
        tissue = torch.from_numpy(stack.tissue)
        n = float(weight.sum())
        loss += float(loss_of(output, batch, torch.device("cpu"))) * n
        n_weight += n
        error = (output if output.ndim == 3 else output[:, 0]) - target
        brain = weight > 0
        absolute += float(error[brain].abs().sum())
        n_brain += float(brain.sum())
        squared += float((error[tissue] ** 2).sum())
        reference += float((target[tissue] ** 2).sum())
    network.load_state_dict(own)
    network.train(training)
    loss, n_weight, absolute, n_brain, squared, reference = processes.sum(
        np.array([loss, n_weight, absolute, n_brain, squared, reference])
    ).tolist()
    return Scores(
        loss / max(n_weight, 1.0), absolute / max(n_brain, 1.0), (squared / max(reference, 1e-12)) ** 0.5
    )


def copy_state(network: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's weights, which training does not change."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def average_into(average: dict[str, Tensor], network: nn.Module, decay: float) -> None:
    """Move `average` towards the network's weights by 1 − `decay`; what is no float is taken as it is."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            average[name].lerp_(tensor.detach(), 1.0 - decay)
        else:
            average[name].copy_(tensor)
