"""What training minimises."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

HUBER = 1.0
"""Errors of nrCBV beyond this count linearly."""
SD_WEIGHT, WHITE_WEIGHT = 0.1, 0.1
"""Weights of the likelihood and of white matter beside the error of the map."""


def weighted_mse(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error, each pixel counted by its weight. All of shape (b, h, w)."""
    return (weight * (predicted - target) ** 2).sum() / weight.sum().clamp_min(1.0)


def correction_loss(output: Tensor, target: Tensor, weight: Tensor, white: Tensor, inside: Tensor) -> Tensor:
    """Loss of a network that gives map, logarithm of its standard deviation, and logit of white matter.

    The standard deviation is fitted to the errors as they are (Gaussian likelihood); its gradient does not reach the
    map, or the network would give up the pixels that it finds hard.

    Parameters
    ----------
    output : Tensor, shape (b, 3, h, w)
    target, weight : Tensor, shape (b, h, w)
    white : Tensor, shape (b, h, w)
        1 in normal-appearing white matter.
    inside : Tensor, shape (b, h, w)
        1 in the brain.
    """
    value, log_sd, logit = output.unbind(1)
    total = weight.sum().clamp_min(1.0)
    error = functional.huber_loss(value, target, reduction="none", delta=HUBER)
    squared = ((value - target) ** 2).detach()
    likelihood = 0.5 * squared * torch.exp(-2.0 * log_sd) + log_sd
    entropy = functional.binary_cross_entropy_with_logits(logit, white, reduction="none")
    count = inside.sum().clamp_min(1.0)
    return (
        (weight * error).sum() / total
        + SD_WEIGHT * (inside * likelihood).sum() / count
        + WHITE_WEIGHT * (inside * entropy).sum() / count
    )
