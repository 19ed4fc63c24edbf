"""Calibration recovers how wrong a network really is."""

import numpy as np
import pytest

from perfmap.engine.calibrate import Region, fit_uncertainty
from perfmap.errors import InputError

EDGES = (2.0, 2.0, 5.0)
SHAPE = (8, 8, 3)


def regions(rng: np.random.Generator, *, common: bool, true_sd: float, n: int = 400) -> list[Region]:
    """Lesions whose voxels are wrong by `true_sd`, all alike or each on its own; the network says 0.2."""
    sd, mask = np.full(SHAPE, 0.2, dtype=np.float32), np.ones(SHAPE, dtype=bool)
    spread = true_sd if common else true_sd / np.sqrt(mask.size)
    return [Region(sd, mask, EDGES, float(error)) for error in rng.normal(0.0, spread, n)]


def test_the_factor_is_that_of_the_errors() -> None:
    rng = np.random.default_rng(0)
    ratios = np.abs(rng.normal(0.0, 1.7, 100_000))
    found = fit_uncertainty([ratios], regions(rng, common=False, true_sd=0.34))
    assert found.distribution == "quantiles"  # what the loss fits
    assert found.sd_factor == pytest.approx(1.7, rel=0.02)
    assert found.correlation_length_mm <= 2.0


def test_errors_that_a_lesion_shares_have_a_long_reach() -> None:
    rng = np.random.default_rng(1)
    ratios = np.abs(rng.normal(0.0, 1.0, 100_000))
    assert fit_uncertainty([ratios], regions(rng, common=True, true_sd=0.19)).correlation_length_mm >= 10.0


def test_too_few_lesions_are_refused() -> None:
    with pytest.raises(InputError, match="met 4 lesions"):
        fit_uncertainty([np.ones(10)], regions(np.random.default_rng(2), common=True, true_sd=0.1, n=4))


def test_tails_are_shared_between_one_and_two_standard_deviations() -> None:
    rng = np.random.default_rng(3)
    ratios = np.abs(rng.laplace(0.0, 1.0, 200_000)) / np.sqrt(2.0)
    factor = fit_uncertainty([ratios], regions(rng, common=False, true_sd=0.2)).sd_factor
    one, two = (ratios <= factor).mean(), (ratios <= 2 * factor).mean()
    assert 0.6827 < one < 0.76
    assert 0.92 < two < 0.9545


def test_a_few_subjects_that_go_wrong_do_not_widen_the_others() -> None:
    """Nor does a subject count more for having more voxels."""
    rng = np.random.default_rng(4)
    usual = [np.abs(rng.normal(0.0, 1.0, 20_000)) for _ in range(9)]
    wrong = [np.abs(rng.normal(0.0, 20.0, 200_000))]
    lesions = regions(rng, common=False, true_sd=0.2)
    alone, joined = (fit_uncertainty(s, lesions).sd_factor for s in (usual, usual + wrong))
    assert joined == pytest.approx(alone, rel=0.02)
