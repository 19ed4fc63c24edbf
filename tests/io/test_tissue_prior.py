"""The average brain that ships with perfmap is a brain, in MNI millimetres along RAS+."""

from __future__ import annotations

import numpy as np
import pytest

from perfmap.io.tissue_prior import TissuePrior, load_tissue_prior


@pytest.fixture(scope="module")
def prior() -> TissuePrior:
    return load_tissue_prior()


def at(volume: np.ndarray, prior: TissuePrior, point: tuple[float, float, float]) -> float:
    index = np.round((np.array(point) - prior.origin) / prior.step).astype(int)
    return float(volume[tuple(index)])


def test_shares_are_shares(prior: TissuePrior) -> None:
    total = prior.grey + prior.white + prior.fluid
    assert min(prior.grey.min(), prior.white.min(), prior.fluid.min()) >= 0
    assert total.max() <= 1.02


def test_volumes_are_those_of_an_adult(prior: TissuePrior) -> None:
    litre = prior.step**3 / 1e6
    assert 0.55 < prior.grey.sum() * litre < 1.1
    assert 0.4 < prior.white.sum() * litre < 0.75


@pytest.mark.parametrize("point", [(-28, -24, 28), (28, -24, 28), (-20, 36, 8), (20, 36, 8), (0, -34, 14)])
def test_deep_white_matter_and_callosum(prior: TissuePrior, point: tuple[float, float, float]) -> None:
    assert at(prior.white, prior, point) > 0.7


@pytest.mark.parametrize("point", [(-30, 3, 0), (30, 3, 0), (0, -80, 6)])
def test_putamen_and_calcarine_cortex_are_grey(prior: TissuePrior, point: tuple[float, float, float]) -> None:
    assert at(prior.grey, prior, point) > 0.5


def test_front_is_forward_and_top_is_up(prior: TissuePrior) -> None:
    total = prior.grey + prior.white
    x, y, z = (np.flatnonzero(total.max(axis=other) > 0.5) for other in ((1, 2), (0, 2), (0, 1)))
    low = prior.origin + prior.step * np.array([x[0], y[0], z[0]])
    high = prior.origin + prior.step * np.array([x[-1], y[-1], z[-1]])
    np.testing.assert_allclose(low, [-70, -106, -66], atol=10)
    np.testing.assert_allclose(high, [70, 72, 80], atol=10)


def test_left_and_right_are_alike(prior: TissuePrior) -> None:
    middle = round(-prior.origin[0] / prior.step)
    width = min(middle, prior.white.shape[0] - 1 - middle)
    right = prior.white[middle : middle + width + 1]
    left = prior.white[middle - width : middle + 1][::-1]
    assert np.corrcoef(left.ravel(), right.ravel())[0, 1] > 0.9
