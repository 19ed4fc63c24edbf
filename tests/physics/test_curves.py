"""The curve library: exact CBV from sampled curves, and the library against plain convolution."""

from __future__ import annotations

import numpy as np
import pytest

from perfmap.physics.aif import gamma_variate
from perfmap.physics.curves import FINE_STEP, MTT_NODES, sample_interstitial_curves, sample_tissue_curves
from perfmap.physics.residue import tissue_response

TIME = np.arange(4000) * FINE_STEP
ARTERY = 55.0 * gamma_variate(TIME, arrival=15.0, alpha=3.0, beta=1.5)


@pytest.mark.parametrize("time_step_and_limit", [(1.0, 5e-4), (2.0, 5e-3), (2.5, 1e-2)])
@pytest.mark.parametrize("phase", np.arange(0.0, 1.0, 0.2))
def test_cbv_from_sampled_concentration_is_exact(
    time_step_and_limit: tuple[float, float], phase: float
) -> None:
    """CBV = 100·k_H·∫C/∫Ca from a noise-free series of 200 s, at every sampling phase."""
    step, limit = time_step_and_limit
    times = np.arange(0.0, 200.0, step) + phase * step
    cbv, factor = 4.0, 0.733
    curves = sample_tissue_curves(
        ARTERY,
        times,
        family="gamma",
        mtt=np.array([4.0, 5.3]),
        delay=np.array([0.0, 1.2]),
        residue_lambda=np.array([3.0, 3.0]),
    ).curves(slice(None))
    artery = np.interp(times, TIME, ARTERY)
    measured = 100 * factor * (cbv / 100 / factor * curves).sum(axis=0) / artery.sum()
    np.testing.assert_allclose(measured, cbv, rtol=limit)


def test_library_equals_plain_convolution_at_its_nodes() -> None:
    mtt = MTT_NODES[[5, 15, 20]]
    times = np.arange(60) * 1.37
    curves = sample_tissue_curves(
        ARTERY, times, family="box", mtt=mtt, delay=np.zeros(3), residue_lambda=np.ones(3)
    ).curves(slice(None))
    for n, value in enumerate(mtt):
        plain = tissue_response(ARTERY, time_step=FINE_STEP, mtt=float(value), family="box")
        np.testing.assert_allclose(curves[:, n], np.interp(times, TIME, plain), atol=2e-5)


@pytest.mark.parametrize("mtt", [1.3, 4.0, 7.7, 18.0])
def test_library_between_nodes_keeps_area_and_mean_transit(mtt: float) -> None:
    times = TIME[:3500]
    one = np.array([mtt])
    mixed = sample_tissue_curves(
        ARTERY, times, family="gamma", mtt=one, delay=np.zeros(1), residue_lambda=np.ones(1)
    ).curves(slice(None))[:, 0]
    exact = tissue_response(ARTERY, time_step=FINE_STEP, mtt=mtt, family="gamma", residue_lambda=1.0)[:3500]
    assert mixed.sum() == pytest.approx(exact.sum(), rel=1e-4)
    assert (mixed * times).sum() / mixed.sum() == pytest.approx((exact * times).sum() / exact.sum(), abs=0.02)
    assert np.abs(mixed - exact).max() < 0.01 * exact.max()


def test_delay_shifts_the_curve_in_time() -> None:
    times = np.arange(80) * 1.0
    args = {"family": "gamma", "mtt": np.full(2, 4.0), "residue_lambda": np.full(2, 3.0)}
    early, late = (
        sample_tissue_curves(ARTERY, times, delay=np.array([0.0, 3.0]), **args).curves(slice(None)).T
    )  # type: ignore[arg-type]
    np.testing.assert_allclose(late[3:], early[:-3], atol=1e-5)
    assert np.abs(late[:10]).max() < 1e-6


def test_preload_alone_fills_the_interstitium_to_ve_times_plasma() -> None:
    """Long after a preload the interstitial concentration Ktrans·(…) is ve·Cp = Ktrans/kep·Cp."""
    curves = sample_interstitial_curves(
        np.zeros(2000),
        np.arange(10) * 2.0,
        kep=np.array([0.4, 0.4, 0.4]),
        delay=np.array([0.0, 3.0, -2.0]),
        steady_plasma=0.4,
        steady_minutes=60.0,
    ).curves(slice(None))
    np.testing.assert_allclose(curves, 0.4 / 0.4, rtol=0.01)
