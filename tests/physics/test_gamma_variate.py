"""Gamma-variate fit: parameters and areas of curves that are gamma variates, and behaviour on others."""

from __future__ import annotations

import numpy as np
import pytest

from perfmap.physics.gamma_variate import GammaVariate, first_pass_weights, fit_gamma_variate, gamma_variate

STEP = 1.5
TIME = np.arange(24) * STEP


def draw(n: int, rng: np.random.Generator) -> tuple[GammaVariate, np.ndarray]:
    truth = GammaVariate(
        height=rng.uniform(0.1, 20, n),
        arrival=rng.uniform(1, 4, n),
        alpha=rng.uniform(2, 6, n),
        beta=rng.uniform(0.9, 1.8, n),
        fitted=np.ones(n, dtype=bool),
    )
    curves = gamma_variate(
        TIME,
        height=truth.height[:, None],
        arrival=truth.arrival[:, None],
        alpha=truth.alpha[:, None],
        beta=truth.beta[:, None],
    )
    return truth, curves


def test_parameters_of_exact_curves_come_back() -> None:
    truth, curves = draw(2000, np.random.default_rng(0))
    fit = fit_gamma_variate(curves, time_step=STEP)
    found = fit.fitted
    assert found.mean() > 0.99
    for name in ("height", "arrival", "alpha", "beta"):
        error = getattr(fit, name)[found] - getattr(truth, name)[found]
        assert np.percentile(np.abs(error), 95) < 1e-4, name
    np.testing.assert_allclose(fit.area()[found], truth.area()[found], rtol=1e-4)


def test_area_is_the_integral() -> None:
    truth, _ = draw(5, np.random.default_rng(1))
    fine = np.arange(0, 300, 0.01)
    for k in range(5):
        curve = gamma_variate(
            fine, height=truth.height[k], arrival=truth.arrival[k], alpha=truth.alpha[k], beta=truth.beta[k]
        )
        assert truth.area()[k] == pytest.approx(np.trapezoid(curve, dx=0.01), rel=1e-6)


def test_peak_stands_where_the_parameters_say() -> None:
    curve = gamma_variate(np.arange(0, 40, 0.001), height=7.0, arrival=5.0, alpha=3.0, beta=2.0)
    assert curve.max() == pytest.approx(7.0)
    assert np.argmax(curve) * 0.001 == pytest.approx(11.0, abs=0.002)
    assert not curve[:5000].any()


def test_recirculation_is_left_out() -> None:
    """A second pass and a tail raise the plain integral, and the fitted area hardly at all."""
    truth, curves = draw(400, np.random.default_rng(2))
    later = np.maximum(TIME - 18, 0)
    second = 0.12 * truth.height[:, None] * (1 - np.exp(-later / 6))
    fit = fit_gamma_variate(curves + second, time_step=STEP)
    plain = np.trapezoid(curves + second, dx=STEP, axis=1) / truth.area() - 1
    fitted = (fit.area() / truth.area() - 1)[fit.fitted]
    assert np.median(np.abs(fitted)) < 0.3 * np.median(plain)


def test_noise_gives_unbiased_areas() -> None:
    truth, curves = draw(3000, np.random.default_rng(3))
    noisy = curves + 0.05 * truth.height[:, None] * np.random.default_rng(4).normal(size=curves.shape)
    fit = fit_gamma_variate(noisy, time_step=STEP)
    error = (fit.area() / truth.area() - 1)[fit.fitted]
    assert abs(np.median(error)) < 0.02
    assert np.percentile(np.abs(error), 90) < 0.12


def test_factor_of_the_signal_is_a_factor_of_the_area() -> None:
    _, curves = draw(50, np.random.default_rng(5))
    plain = fit_gamma_variate(curves, time_step=STEP)
    scaled = fit_gamma_variate(1e-4 * curves, time_step=STEP)
    np.testing.assert_allclose(scaled.area(), 1e-4 * plain.area(), rtol=1e-6)


def test_samples_below_a_fifth_of_the_peak_take_no_part() -> None:
    curve = np.array([[0.0, 1, 5, 10, 6, 3, 1.9, 4, 1.0]])
    weights, peak = first_pass_weights(curve)
    assert peak == 3
    np.testing.assert_array_equal(weights, [[1, 1, 1, 1, 1, 1, 0, 0, 0]])


@pytest.mark.parametrize("curve", [np.zeros(24), -np.ones(24), np.r_[5.0, np.zeros(23)]])
def test_no_first_pass_no_fit(curve: np.ndarray) -> None:
    fit = fit_gamma_variate(curve[np.newaxis], time_step=STEP)
    assert not fit.fitted.any()
    assert fit.area() == 0
