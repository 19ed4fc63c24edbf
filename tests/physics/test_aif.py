"""Arterial curves: areas, limits and published numbers."""

from __future__ import annotations

import numpy as np
import pytest

from perfmap.physics.aif import (
    disperse,
    exponential_filter,
    full_width_half_maximum,
    gamma_variate,
    injected_bolus,
    parker,
    recirculate,
)

STEP = 0.1
TIME = np.arange(4000) * STEP


def mean_time(curve: np.ndarray) -> float:
    return float((curve * TIME).sum() / curve.sum())


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 2.5), (3.0, 1.5), (6.0, 0.9)])
def test_gamma_variate_has_unit_area_and_peaks_at_alpha_beta(alpha: float, beta: float) -> None:
    curve = gamma_variate(TIME, arrival=12.3, alpha=alpha, beta=beta)
    assert curve.sum() * STEP == pytest.approx(1.0, abs=1e-5)
    assert TIME[curve.argmax()] == pytest.approx(12.3 + alpha * beta, abs=STEP)
    assert not curve[TIME <= 12.3].any()


def test_width_of_the_public_in_vivo_fit() -> None:
    curve = gamma_variate(TIME, arrival=10.0, alpha=5.9, beta=1.07)
    assert full_width_half_maximum(curve, time_step=STEP) == pytest.approx(6.2, abs=0.2)


def test_injection_has_unit_area_and_the_mean_of_its_parts() -> None:
    curve = injected_bolus(TIME, arrival=10.0, duration=4.0, transit_time=8.0, n_chambers=5.0)
    assert curve.sum() * STEP == pytest.approx(1.0, abs=1e-6)
    assert mean_time(curve) == pytest.approx(10.0 + 4.0 / 2 + 8.0, abs=STEP)


def test_stewart_hamilton_returns_the_cardiac_output() -> None:
    amount_mmol, output_ml_per_s = 7.5, 95.0
    curve = (
        1000
        * amount_mmol
        / output_ml_per_s
        * injected_bolus(TIME, arrival=5.0, duration=3.0, transit_time=9.0, n_chambers=6.0)
    )
    assert 1000 * amount_mmol / (curve.sum() * STEP) == pytest.approx(output_ml_per_s, rel=1e-5)


def test_parker_agrees_with_its_publication() -> None:
    curve = parker(TIME, arrival=20.0)
    assert curve.max() == pytest.approx(6.0, abs=0.15)  # figure 3 of the paper
    assert TIME[curve.argmax()] - 20.0 == pytest.approx(60 * 0.17046, abs=0.3)
    ten_minutes = parker(np.array([620.0]), arrival=20.0)[0]
    assert ten_minutes == pytest.approx(1.05 * np.exp(-0.1685 * 10), rel=1e-3)
    assert curve[TIME < 5].max() < 1e-3


@pytest.mark.parametrize("tau", [0.5, 3.0, 40.0])
def test_exponential_filter_keeps_area_and_delays_by_tau(tau: float) -> None:
    curve = gamma_variate(TIME, arrival=10.0, alpha=3.0, beta=1.5)
    later = exponential_filter(curve, time_step=STEP, tau=tau)
    assert later.sum() == pytest.approx(curve.sum(), rel=1e-3)
    assert mean_time(later) - mean_time(curve) == pytest.approx(tau, rel=0.01)


@pytest.mark.parametrize("kind", ["exponential", "gamma"])
def test_dispersion_keeps_area_and_gamma_is_narrower(kind: str) -> None:
    curve = gamma_variate(TIME, arrival=10.0, alpha=3.0, beta=1.5)
    spread = disperse(curve, time_step=STEP, kind=kind, tau=3.0)  # type: ignore[arg-type]
    assert spread.sum() == pytest.approx(curve.sum(), rel=1e-6)
    assert mean_time(spread) - mean_time(curve) == pytest.approx(3.0, abs=0.01)
    variance = ((TIME - mean_time(spread)) ** 2 * spread).sum() / spread.sum()
    before = ((TIME - mean_time(curve)) ** 2 * curve).sum() / curve.sum()
    assert variance - before == pytest.approx(9.0 if kind == "exponential" else 4.5, rel=0.02)


def test_no_dispersion_changes_nothing() -> None:
    curve = gamma_variate(TIME, arrival=10.0, alpha=3.0, beta=1.5)
    assert disperse(curve, time_step=STEP, kind="none", tau=3.0) is curve
    assert disperse(curve, time_step=STEP, kind="gamma", tau=0.0) is curve


def test_recirculation_adds_its_fraction_and_the_tail_reaches_its_level() -> None:
    first = gamma_variate(TIME, arrival=10.0, alpha=3.0, beta=1.5)
    twice = recirculate(first, time_step=STEP, fraction=0.2, delay=12.0, tau=8.0, tail=0.0)
    assert twice.sum() / first.sum() == pytest.approx(1.2, rel=1e-3)
    tailed = recirculate(first, time_step=STEP, fraction=0.2, delay=12.0, tau=8.0, tail=0.1)
    assert tailed[-1] / first.max() == pytest.approx(0.1, rel=1e-3)
    assert np.array_equal(tailed[TIME < 10], first[TIME < 10])
