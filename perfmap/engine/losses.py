"""What training minimises."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

HUBER_TISSUE, HUBER_OTHER = 3.0, 1.0
"""Errors of nrCBV beyond this count linearly: in tissue, and in vessels and CSF.

In tissue nearly all errors are squared. Two thirds of the squared error of the first-pass map lie in the few voxels of
tissue with 2 to 8 % of vessel, which a loss of relative or absolute errors would leave as they are.
"""
SD_WEIGHT, WHITE_WEIGHT = 0.1, 0.3
"""Weights of the likelihood and of white matter beside the error of the map."""


def weighted_mse(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error, each pixel counted by its weight. All of shape (b, h, w)."""
    return (weight * (predicted - target) ** 2).sum() / weight.sum().clamp_min(1.0)


def huber(error: Tensor, limit: Tensor) -> Tensor:
    """Half of the squared error up to `limit`, linear beyond it; `limit` may differ from pixel to pixel."""
    size = error.abs()
    return torch.where(size <= limit, 0.5 * error**2, limit * (size - 0.5 * limit))


def correction_loss(
    output: Tensor, target: Tensor, weight: Tensor, *, tissue: Tensor, white: Tensor, inside: Tensor
) -> Tensor:
    """Loss of a network that gives map, logarithm of its standard deviation, and logit of white matter.

    The standard deviation is fitted to the errors as they are (Gaussian likelihood); its gradient does not reach the
    map, or the network would give up the pixels that it finds hard.

    Parameters
    ----------
    output : Tensor, shape (b, 3, h, w)
    target, weight : Tensor, shape (b, h, w)
    tissue : Tensor of bool, shape (b, h, w)
        Brain without vessels and CSF.
    white : Tensor, shape (b, h, w)
        1 in normal-appearing white matter.
    inside : Tensor, shape (b, h, w)
        1 in the brain.
    """
    value, log_sd, logit = output.unbind(1)
    total = weight.sum().clamp_min(1.0)
    limit = torch.where(tissue, HUBER_TISSUE, HUBER_OTHER)
    error = huber(value - target, limit)
    squared = ((value - target) ** 2).detach()
    likelihood = 0.5 * squared * torch.exp(-2.0 * log_sd) + log_sd
    entropy = functional.binary_cross_entropy_with_logits(logit, white, reduction="none")
    count = inside.sum().clamp_min(1.0)
    return (
        (weight * error).sum() / total
        + SD_WEIGHT * (inside * likelihood).sum() / count
        + WHITE_WEIGHT * (inside * entropy).sum() / count
    )
