"""A small head with a bolus, written out by hand: what tests need that must not lean on the simulator."""

from __future__ import annotations

import numpy as np

from perfmap.series import Series

WHITE, GREY = 1.0, 2.2  # nrCBV


def bolus_curve(time: np.ndarray, *, arrival: float) -> np.ndarray:
    """Gamma variate with peak 1. Shape of `time`, s."""
    late = np.clip(time - arrival, 0.0, None)
    return (late / 6.0) ** 3 * np.exp(3.0 * (1.0 - late / 6.0))


def head_series(
    *,
    shape: tuple[int, int, int] = (64, 64, 5),
    n_times: int = 45,
    time_step: float = 1.5,
    arrival: float = 21.0,
    n_unsteady: int = 0,
    noise: float = 0.004,
    gain: float = 800.0,
    seed: int = 0,
) -> tuple[Series, np.ndarray]:
    """A series of an ellipsoid brain (white matter inside, grey around it) and its true nrCBV.

    Parameters
    ----------
    shape : tuple of int
        Matrix (x, y, z).
    n_times, time_step, arrival
        Time axis, s.
    n_unsteady : int
        First volumes brighter than the steady state.
    noise : float
        Standard deviation, share of the baseline.
    gain : float
        Signal of the baseline.
    """
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    radius = np.sqrt((x / 0.72) ** 2 + (y / 0.85) ** 2 + (z / 1.6) ** 2)
    nrcbv = np.where(radius < 0.7, WHITE, np.where(radius < 1.0, GREY, 0.0))
    time = np.arange(n_times) * time_step
    log_ratio = 0.22 * nrcbv[..., None] * bolus_curve(time, arrival=arrival)
    baseline = gain * np.where(radius < 0.7, 0.9, np.where(radius < 1.0, 1.0, 0.004))
    signal = baseline[..., None] * np.exp(-log_ratio)
    for t in range(n_unsteady):
        signal[..., t] *= 1.0 + 0.3 * 0.4**t
    rng = np.random.default_rng(seed)
    re, im = rng.normal(0.0, noise * gain, (2, *signal.shape))
    signal = np.hypot(signal + re, im).astype(np.float32)
    affine = np.diag([192 / shape[0], 192 / shape[1], 6.0, 1.0])
    return Series(signal, affine, time_step=time_step, repetition_time=time_step, echo_time=0.03), nrcbv
