"""What the loss of the default network sees."""

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from perfmap.engine import losses
from perfmap.engine.losses import LEAST_LEVEL, correction_loss, regional_error, relative_error

EDGE = 32


def everywhere() -> Tensor:
    return torch.ones(1, EDGE, EDGE, dtype=torch.bool)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("at_zero", [0.35, 0.5])
def test_the_best_answer_to_an_uncertain_truth_is_its_mean(power: Literal[1, 2], at_zero: float) -> None:
    """Of all values that nrCBV may have, whatever their spread: no network gains by a guess on the low side."""
    possible = torch.from_numpy(np.random.default_rng(0).lognormal(0.0, 0.6, 20_000))
    answers = torch.linspace(0.5, 2.0, 301, dtype=torch.float64)
    costs = [
        float(relative_error(answer.expand_as(possible), possible, at_zero=at_zero, power=power).mean())
        for answer in answers
    ]
    assert float(answers[int(np.argmin(costs))]) == pytest.approx(float(possible.mean()), abs=0.006)


@pytest.mark.parametrize("power", [1, 2])
def test_the_pull_on_a_prediction_is_its_error_over_its_level(power: Literal[1, 2]) -> None:
    """Finite, and towards the truth, below zero too."""
    predicted = torch.linspace(-3.0, 15.0, 721, dtype=torch.float64, requires_grad=True)
    relative_error(predicted, torch.full_like(predicted, 1.5), at_zero=0.5, power=power).sum().backward()
    level = (0.5 + 0.5 * predicted.detach()).clamp_min(LEAST_LEVEL)
    assert predicted.grad is not None
    torch.testing.assert_close(predicted.grad, 2.0 * (predicted.detach() - 1.5) / level**power)


@pytest.mark.parametrize(("level", "unit"), [(3.0, 2.3), (1.0, 1.0), (0.0, 0.35)])
def test_a_small_common_error_is_squared_in_a_unit_that_falls_with_cbv(level: float, unit: float) -> None:
    """The same error of a mean counts more where there is less blood, and about as much above the truth as below it."""
    for share in (0.02, -0.02):
        target = torch.full((1, EDGE, EDGE), level)
        found = regional_error(target + share * unit, target, everywhere())
        assert float(found) == pytest.approx(0.02**2, rel=0.05)


def test_noise_of_voxels_counts_less_than_a_bias_of_the_same_size() -> None:
    torch.manual_seed(0)
    target = torch.ones(1, EDGE, EDGE)
    noise, bias = 0.3 * torch.randn(1, EDGE, EDGE), torch.full((1, EDGE, EDGE), 0.3)
    noisy, biased = (regional_error(target + error, target, everywhere()) for error in (noise, bias))
    assert noisy < 0.1 * biased


def test_errors_of_other_pixels_do_not_cancel_those_of_a_lesion() -> None:
    lesion = torch.zeros(1, EDGE, EDGE, dtype=torch.bool)
    lesion[0, 10:14, 10:14] = True
    blurred = torch.where(lesion, -0.5, 0.0)
    blurred[0, 9, 10:14] = blurred[0, 14, 10:14] = 1.0  # what the lesion lost lies beside it
    target = torch.ones(1, EDGE, EDGE)
    even = torch.full_like(target, 0.5)
    assert float(regional_error(target + blurred, target, lesion)) == pytest.approx(
        float(regional_error(even, target, everywhere())), rel=1e-4
    )


def test_few_pixels_weigh_less_and_none_weigh_nothing() -> None:
    target, found = torch.ones(1, EDGE, EDGE), torch.full((1, EDGE, EDGE), 1.5)
    lesion = torch.zeros(1, EDGE, EDGE, dtype=torch.bool)
    assert float(regional_error(found, target, lesion, least=400.0)) == 0.0
    lesion[0, 8:16, 8:16] = True
    few = float(regional_error(found, target, lesion, least=400.0))
    assert 0.0 < few < float(regional_error(found, target, lesion))


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


def test_voxels_of_lesions_pull_by_their_level_and_others_by_their_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(losses, "REGION_WEIGHT", 0.0)
    lesion = torch.zeros(1, EDGE, EDGE, dtype=torch.bool)
    lesion[0, :16] = True
    output = torch.zeros(1, 3, EDGE, EDGE)
    output[:, 0] = 3.0
    output.requires_grad_()
    total(output, lesion=lesion).backward()  # type: ignore[no-untyped-call]  # the truth is 1 everywhere
    assert output.grad is not None
    pull = output.grad[0, 0] * EDGE**2
    torch.testing.assert_close(pull[0, 0], torch.tensor(2.0 / 2.0))  # level 0.5 + 0.5 · 3
    torch.testing.assert_close(pull[-1, -1], torch.tensor(2.0))


def test_a_truth_below_nothing_counts_as_none() -> None:
    predicted, below = torch.linspace(-1.0, 5.0, 25), torch.full((25,), -0.1)
    for power in (1, 2):
        found = relative_error(predicted, below, at_zero=0.35, power=power)  # type: ignore[arg-type]
        wanted = relative_error(predicted, 0 * below, at_zero=0.35, power=power)  # type: ignore[arg-type]
        torch.testing.assert_close(found, wanted)


def test_the_map_learns_nothing_from_the_standard_deviation() -> None:
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


def best_sd(errors: np.ndarray) -> float:
    """What `correction_loss` takes for the best standard deviation of all pixels."""
    output = torch.zeros(1, 3, *errors.shape)
    output[:, 0] = torch.from_numpy(errors).float()
    zeros, ones = torch.zeros(1, *errors.shape), torch.ones(1, *errors.shape)
    parts = {"tissue": ones > 0, "lesion": zeros > 0, "white": zeros, "inside": ones}
    candidates = np.geomspace(0.05, 5.0, 185)  # 2.5 % apart

    def loss(sd: float) -> float:
        output[:, 1] = np.log(sd)
        return float(correction_loss(output, zeros, ones, **parts))

    return float(min(candidates, key=loss))


def test_the_standard_deviation_of_gaussian_errors_is_found() -> None:
    errors = np.random.default_rng(0).normal(0.0, 0.4, (200, 200))
    assert best_sd(errors) == pytest.approx(0.4, rel=0.03)


def test_with_long_tails_what_one_width_covers_too_much_two_cover_too_little() -> None:
    rng = np.random.default_rng(1)
    errors = np.where(rng.random((200, 200)) < 0.9, 0.2, 2.0) * rng.normal(size=(200, 200))
    size, sd = np.abs(errors), best_sd(errors)
    one, two = float((size < sd).mean()), float((size < 2 * sd).mean())
    assert one > 0.70
    assert two < 0.93
    # Where the sum of both losses is least, the two misses cancel. A Gaussian's or Laplace's width covers more.
    assert one + two == pytest.approx(0.6827 + 0.9545, abs=0.02)
