"""The MR signal: limits that must hold whatever the tissue, and the moments of its noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from perfmap.physics.signal import (
    blood_delta_r2star,
    complex_noise_channel,
    gradient_echo_signal,
    longitudinal_magnetisation,
    rician_magnitude,
    spin_echo_signal,
)


def constant(value: float, n_times: int = 30) -> np.ndarray:
    return np.full((n_times, 1), value, dtype=np.float32)


def test_recursion_settles_at_the_ernst_formula() -> None:
    tr, flip, r1 = 1.5, math.radians(60), 1 / 1.08
    m = longitudinal_magnetisation(constant(r1, 60), repetition_time=tr, cos_flip=math.cos(flip))[:, 0]
    e1 = math.exp(-tr * r1)
    assert m[0] == 1.0
    assert m[-1] == pytest.approx((1 - e1) / (1 - math.cos(flip) * e1), rel=1e-5)


def test_dummies_are_the_first_images_left_out() -> None:
    tr, cos_flip = 1.2, math.cos(math.radians(70))
    without = longitudinal_magnetisation(constant(0.7), repetition_time=tr, cos_flip=cos_flip)
    after = longitudinal_magnetisation(constant(0.7), repetition_time=tr, cos_flip=cos_flip, n_dummies=4)
    np.testing.assert_allclose(after[:-4], without[4:], rtol=1e-5)


def test_two_shots_a_volume_are_every_second_pulse() -> None:
    cos_flip = math.cos(math.radians(60))
    every = longitudinal_magnetisation(constant(0.7, 20), repetition_time=0.7, cos_flip=cos_flip)
    shots = longitudinal_magnetisation(
        constant(0.7, 10), repetition_time=0.7, cos_flip=cos_flip, pulses_per_volume=2
    )
    np.testing.assert_allclose(shots, every[::2], rtol=1e-5)


def test_no_repetition_time_gives_no_signal() -> None:
    signal = gradient_echo_signal(
        constant(0.9),
        constant(15.0),
        echo_time=0.03,
        repetition_time=0.0,
        flip_angle=math.radians(90),
        n_dummies=4,
    )
    np.testing.assert_allclose(signal, 0.0, atol=1e-6)


def test_no_echo_time_gives_no_t2_contrast() -> None:
    settings = {"echo_time": 0.0, "repetition_time": 1.5, "flip_angle": math.radians(60)}
    fast = gradient_echo_signal(constant(0.9), constant(80.0), **settings)
    slow = gradient_echo_signal(constant(0.9), constant(5.0), **settings)
    np.testing.assert_array_equal(fast, slow)


def test_endless_repetition_time_gives_no_t1_contrast() -> None:
    settings = {"echo_time": 0.03, "repetition_time": 500.0, "flip_angle": math.radians(60)}
    one = gradient_echo_signal(constant(0.3), constant(20.0), **settings)
    other = gradient_echo_signal(constant(2.0), constant(20.0), **settings)
    np.testing.assert_allclose(one, other, rtol=1e-6)
    np.testing.assert_allclose(one, math.sin(math.radians(60)) * math.exp(-0.6), rtol=1e-5)


def test_log_ratio_returns_delta_r2star_where_t1_does_not_change() -> None:
    change = np.linspace(0, 30, 30, dtype=np.float32)[:, None]
    signal = gradient_echo_signal(
        constant(0.9),
        constant(20.0) + change,
        echo_time=0.03,
        repetition_time=1.5,
        flip_angle=1.0,
        n_dummies=50,
    )
    np.testing.assert_allclose(-np.log(signal / signal[0]) / 0.03, change, atol=2e-3)


def test_spin_echo_without_echo_time_is_saturation_recovery() -> None:
    signal = spin_echo_signal(constant(0.9), constant(12.0), echo_time=0.0, repetition_time=1.5, n_dummies=3)
    np.testing.assert_allclose(signal, 1 - math.exp(-1.5 * 0.9), rtol=1e-5)


def test_spin_echo_first_image_without_dummies_is_bright() -> None:
    signal = spin_echo_signal(constant(0.6), constant(12.0), echo_time=0.08, repetition_time=1.5)[:, 0]
    assert signal[0] > 1.3 * signal[1]
    np.testing.assert_allclose(signal[1:], signal[1], rtol=1e-6)


def test_blood_is_quadratic_at_three_tesla() -> None:
    concentration = np.array([1.0, 2.0, 8.0], dtype=np.float32)
    rate = blood_delta_r2star(concentration, linear=0.493, quadratic=2.62)
    np.testing.assert_allclose(rate, [3.113, 11.466, 171.624], rtol=1e-4)


@pytest.mark.parametrize("fwhm", [0.0, 0.8, 1.5])
def test_rician_moments(fwhm: float) -> None:
    """Second moment S² + 2σ² everywhere; mean √(π/2)·σ without signal; SD σ far above the noise."""
    rng = np.random.default_rng(1)
    sigma, shape = 5.0, (128, 128, 24)
    for level in (0.0, 10.0, 500.0):
        magnitude = rician_magnitude(np.full(shape, level, np.float32), sigma=sigma, fwhm=fwhm, rng=rng)
        second = float((magnitude.astype(np.float64) ** 2).mean())
        assert second == pytest.approx(level**2 + 2 * sigma**2, rel=0.01)
        if level == 0.0:
            assert float(magnitude.mean()) == pytest.approx(sigma * math.sqrt(math.pi / 2), rel=0.01)
        if level == 500.0:
            assert float(magnitude.std()) == pytest.approx(sigma, rel=0.01)


@pytest.mark.parametrize("fwhm", [0.0, 0.7, 1.5])
def test_noise_has_unit_variance_and_the_stated_correlation(fwhm: float) -> None:
    noise = complex_noise_channel((200, 200, 20), fwhm=fwhm, rng=np.random.default_rng(2))
    assert float(noise.var()) == pytest.approx(1.0, rel=0.01)
    neighbours = float((noise[1:] * noise[:-1]).mean())
    if fwhm == 0.0:
        assert abs(neighbours) < 0.01
    else:
        gaussian = math.exp(-1 / (4 * (fwhm / 2.3548) ** 2))  # correlation of smoothed white noise at lag 1
        assert neighbours == pytest.approx(gaussian, abs=0.08)
        assert abs(float((noise[..., 1:] * noise[..., :-1]).mean())) < 0.01
