"""What training minimises."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

HUBER_TISSUE, HUBER_OTHER = 6.0, 1.0
"""Errors of nrCBV beyond this count linearly: in tissue, and in vessels and CSF.

In tissue nearly all errors are squared, as the scores do. Two thirds of the squared error of the first-pass map lie in
the few voxels of tissue with 2 to 8 % of vessel, which a loss of relative or absolute errors would leave as they are.
"""
SD_WEIGHT, WHITE_WEIGHT, REGION_WEIGHT = 0.1, 0.3, 2.0
"""Weights of the standard deviation, of white matter and of regional means beside the error of the map."""
REGION_EDGES = (4, 8, 16)
"""Edges of the windows whose means are compared, pixels."""
VOXEL_LEVEL, REGION_LEVEL = 0.5, 0.35
"""Level of nrCBV 0 (that of white matter is 1), over which errors of a lesion's voxels and of regions are relative."""
LEAST_LEVEL = 0.2
"""Level of a prediction below which the curvature of `relative_error` no longer grows."""
FEW_LESIONS = 50.0
"""Pixels of lesion a slice, in the mean of a batch, below which their regional means weigh less."""
FITTED_BY: Literal["quantiles"] = "quantiles"
"""How the standard deviation is fitted, as `perfmap.models.card.Uncertainty` names it."""
ONE_SIGMA, TWO_SIGMA = 0.6827, 0.9545
"""Shares of brain voxels whose error is to lie within one and two standard deviations."""
_LEAST_ERROR = 1e-4


def weighted_mse(predicted: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error, each pixel counted by its weight. All of shape (b, h, w)."""
    return (weight * (predicted - target) ** 2).sum() / weight.sum().clamp_min(1.0)


def huber(error: Tensor, limit: Tensor) -> Tensor:
    """Half of the squared error up to `limit`, linear beyond it; `limit` may differ from pixel to pixel."""
    size = error.abs()
    return torch.where(size <= limit, 0.5 * error**2, limit * (size - 0.5 * limit))


def relative_error(predicted: Tensor, target: Tensor, *, at_zero: float, power: Literal[1, 2]) -> Tensor:
    """Divergence that is the squared error over ``level ** power`` where the error is small; the mean minimises it.

    The level is at_zero + (1 − at_zero) · nrCBV. A squared error divided by the level of the *truth* asks for too
    little: where nrCBV is uncertain, the low values that it may have count most. The Bregman divergence whose
    curvature at a prediction is ``1 / level ** power`` (1: Poisson, 2: Itakura–Saito) is least at the mean of what is
    possible (Banerjee 2005, doi 10.1109/TIT.2005.850145). Large errors upwards cost less than those downwards. Below a
    level of `LEAST_LEVEL` the curvature stays as it is there.

    Parameters
    ----------
    predicted, target : Tensor, of the same shape
        nrCBV.
    at_zero : float
        Level of nrCBV 0, at least `LEAST_LEVEL`; that of nrCBV 1 is 1.
    power : {1, 2}
    """
    slope = 1.0 - at_zero
    level, true = at_zero + slope * predicted, at_zero + slope * target.clamp_min(0.0)
    at = level.clamp_min(LEAST_LEVEL)
    ratio = true / at
    inside = true * ratio.log() - true + at if power == 1 else ratio - ratio.log() - 1.0
    below = ((level - true) ** 2 - (at - true) ** 2) / (2.0 * LEAST_LEVEL**power)
    return 2.0 * (inside + below) / slope**2


def regional_error(predicted: Tensor, target: Tensor, where: Tensor, *, least: float = 1.0) -> Tensor:
    """Mean relative error (`relative_error`) of regional means, over windows of several sizes.

    The mean of a window is compared by `relative_error`: relative where CBV is high, absolute where there is none.
    Windows count by the pixels in them that are of the kind. The error of a voxel is mostly noise, that of a mean over
    a region is mostly bias: a small lesion that is pulled towards its surroundings, leakage, the scale. A squared error
    of voxels hardly sees it; people read means.

    Parameters
    ----------
    predicted, target : Tensor, shape (b, h, w)
    where : Tensor of bool, shape (b, h, w)
        Pixels of one kind; means are taken over them alone.
    least : float
        Number of such pixels below which the result weighs less.
    """
    kind = where.float()
    planes = torch.stack([kind, kind * predicted, kind * target], dim=1)  # (b, 3, h, w)
    total = predicted.new_zeros(())
    for edge in REGION_EDGES:
        pooled = functional.avg_pool2d(
            planes, edge, stride=edge // 2, ceil_mode=True, divisor_override=edge**2
        )
        share, *means = pooled.unbind(1)
        mean, mean_target = (value / share.clamp_min(1e-6) for value in means)
        errors = relative_error(mean, mean_target, at_zero=REGION_LEVEL, power=2)
        total = total + (share * errors).sum() / share.sum().clamp_min(least / (edge // 2) ** 2)
    return total / len(REGION_EDGES)


def coverage_loss(error: Tensor, log_sd: Tensor) -> Tensor:
    """Loss of a standard deviation, pixel by pixel: least where it covers 68 % of the errors and twice it 95 %.

    Two quantile (pinball) losses of the logarithm of the error's size. Errors have longer tails than any usual
    distribution: the width of one that is fitted by likelihood covers too many within one, too few within two of it.

    Parameters
    ----------
    error, log_sd : Tensor, of the same shape
    """
    total = torch.zeros_like(log_sd)
    log_error = error.abs().clamp_min(_LEAST_ERROR).log()
    for factor, share in ((1.0, ONE_SIGMA), (2.0, TWO_SIGMA)):
        beyond = log_error - (log_sd + math.log(factor))
        total = total + torch.maximum(share * beyond, (share - 1.0) * beyond)
    return total


def correction_loss(
    output: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    tissue: Tensor,
    lesion: Tensor,
    white: Tensor,
    inside: Tensor,
) -> Tensor:
    """Loss of a network that gives map, logarithm of the standard deviation of its error, and logit of white matter.

    Errors of voxels, relative in lesions, and of regional means (lesions, white matter and other tissue apart) are
    added. The standard deviation is fitted to the errors as they are (`coverage_loss`); its gradient does not reach the
    map, or the network would give up the pixels that it finds hard.

    Parameters
    ----------
    output : Tensor, shape (b, 3, h, w)
    target, weight : Tensor, shape (b, h, w)
    tissue : Tensor of bool, shape (b, h, w)
        Brain without vessels and CSF.
    lesion : Tensor of bool, shape (b, h, w)
    white : Tensor, shape (b, h, w)
        1 in normal-appearing white matter.
    inside : Tensor, shape (b, h, w)
        1 in the brain.
    """
    value, log_sd, logit = output.unbind(1)
    total = weight.sum().clamp_min(1.0)
    limit = torch.where(tissue, HUBER_TISSUE, HUBER_OTHER)
    relative = 0.5 * relative_error(value, target, at_zero=VOXEL_LEVEL, power=1)
    error = torch.where(lesion, relative, huber(value - target, limit))
    coverage = coverage_loss((value - target).detach(), log_sd)
    entropy = functional.binary_cross_entropy_with_logits(logit, white, reduction="none")
    count = inside.sum().clamp_min(1.0)
    normal = tissue & ~lesion
    regions = (
        regional_error(value, target, lesion & tissue, least=FEW_LESIONS * len(target))
        + regional_error(value, target, normal & (white > 0.5))
        + regional_error(value, target, normal & (white <= 0.5))
    )
    return (
        (weight * error).sum() / total
        + REGION_WEIGHT * regions
        + SD_WEIGHT * (inside * coverage).sum() / count
        + WHITE_WEIGHT * (inside * entropy).sum() / count
    )
