"""What the loss of the default network sees."""

import numpy as np
import pytest
import torch
from torch import Tensor

from perfmap.engine.losses import correction_loss, regional_error

EDGE = 32


def everywhere() -> Tensor:
    return torch.ones(1, EDGE, EDGE, dtype=torch.bool)


def test_a_common_relative_error_is_squared_whatever_the_level() -> None:
    for level in (1.0, 3.0):
        target = torch.full((1, EDGE, EDGE), level)
        error = 0.2 * (0.5 + 0.5 * target)
        assert float(regional_error(error, target, everywhere())) == pytest.approx(0.04, rel=1e-4)


def test_noise_of_voxels_counts_less_than_a_bias_of_the_same_size() -> None:
    torch.manual_seed(0)
    target = torch.ones(1, EDGE, EDGE)
    noise, bias = 0.3 * torch.randn(1, EDGE, EDGE), torch.full((1, EDGE, EDGE), 0.3)
    assert regional_error(noise, target, everywhere()) < 0.1 * regional_error(bias, target, everywhere())


def test_errors_of_other_pixels_do_not_cancel_those_of_a_lesion() -> None:
    lesion = torch.zeros(1, EDGE, EDGE, dtype=torch.bool)
    lesion[0, 10:14, 10:14] = True
    blurred = torch.where(lesion, -0.5, 0.0)
    blurred[0, 9, 10:14] = blurred[0, 14, 10:14] = 1.0  # what the lesion lost lies beside it
    target = torch.ones(1, EDGE, EDGE)
    assert float(regional_error(blurred, target, lesion)) == pytest.approx(0.25, rel=1e-4)


def test_few_pixels_weigh_less_and_none_weigh_nothing() -> None:
    target, error = torch.ones(1, EDGE, EDGE), torch.full((1, EDGE, EDGE), 0.5)
    lesion = torch.zeros(1, EDGE, EDGE, dtype=torch.bool)
    assert float(regional_error(error, target, lesion, least=400.0)) == 0.0
    lesion[0, 8:16, 8:16] = True
    few = float(regional_error(error, target, lesion, least=400.0))
    assert 0.0 < few < float(regional_error(error, target, lesion))


def total(output: Tensor, *, lesion: Tensor, weight: float = 1.0) -> Tensor:
    """Loss against a truth of 1 in tissue."""
    ones = torch.ones(1, EDGE, EDGE)
    white = torch.zeros(1, EDGE, EDGE)
    return correction_loss(
        output, ones, weight * ones, tissue=everywhere(), lesion=lesion, white=white, inside=ones
    )


@pytest.mark.parametrize("in_lesion", [True, False])
def test_a_bias_costs_more_than_noise_of_the_same_square_in_lesions_and_beside(in_lesion: bool) -> None:
    where = torch.zeros(1, EDGE, EDGE, dtype=torch.bool)
    where[0, :16] = True
    lesion = where if in_lesion else ~where
    sign = torch.ones(1, EDGE, EDGE)
    sign[..., ::2] = -1.0
    costs = []
    for error in (torch.full((1, EDGE, EDGE), 0.4), 0.4 * sign):
        output = torch.zeros(1, 3, EDGE, EDGE)
        output[:, 0] = 1.0 + torch.where(where, error, 0.0)
        costs.append(float(total(output, lesion=lesion)))
    assert costs[0] > costs[1] + 0.1


def test_the_map_learns_nothing_from_the_likelihood() -> None:
    output = torch.rand(1, 3, EDGE, EDGE, requires_grad=True)
    ones = torch.ones(1, EDGE, EDGE)
    nowhere = torch.zeros(1, EDGE, EDGE, dtype=torch.bool)
    loss = correction_loss(
        output, ones, 0 * ones, tissue=nowhere, lesion=nowhere, white=0 * ones, inside=ones
    )
    loss.backward()
    assert output.grad is not None
    assert (output.grad[:, 0] == 0).all()
    assert (output.grad[:, 1] != 0).all()


def test_the_likelihood_is_best_where_the_scale_is_the_mean_error() -> None:
    errors = torch.from_numpy(np.random.default_rng(0).laplace(0.0, 0.4, (1, EDGE, EDGE))).float()
    output = torch.zeros(1, 3, EDGE, EDGE)
    output[:, 0] = errors
    parts = {"tissue": everywhere(), "lesion": ~everywhere(), "white": torch.zeros(1, EDGE, EDGE)}

    def loss(scale: float) -> float:
        output[:, 1] = np.log(scale)
        zeros, ones = torch.zeros(1, EDGE, EDGE), torch.ones(1, EDGE, EDGE)
        return float(correction_loss(output, zeros, ones, **parts, inside=ones))

    assert loss(0.4) < min(loss(0.3), loss(0.53))
