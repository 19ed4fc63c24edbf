"""Gamma-variate fit of the first pass, all voxels at once.

The curve is written by its peak, y(t) = A·x^α·e^{α(1−x)} with x = (t − t0)/(αβ): A is the height, αβ the time
from arrival to peak, so the four parameters are nearly independent and the fit converges in a few steps.
doi 10.1088/0031-9155/37/7/010 (Madsen, Phys Med Biol 1992).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

FloatArray = NDArray[np.float32]

START_ALPHA = 5.0
ARRIVAL_FRACTION = 0.05
"""The fit starts with t0 at the last sample before the peak that is not above this part of the peak."""
END_FRACTION = 0.2
"""Samples after the peak take part down to this part of it."""
MIN_SAMPLES = 5
"""A voxel with fewer samples in its first pass is not fitted."""

_ALPHA_RANGE = (1.0, 30.0)
_MAX_STEPS = 30
_CONVERGED = 1e-5
_CHUNK = 8192
_N_THREADS = 2


@dataclass(frozen=True)
class GammaVariate:
    """Fitted parameters, each of shape (...).

    Attributes
    ----------
    height : ndarray
        A, unit of the curve.
    arrival : ndarray
        t0, s on the time axis of the fit.
    alpha : ndarray
        Shape, pure number.
    beta : ndarray
        Scale, s.
    fitted : ndarray of bool
        False where there was no first pass to fit; the parameters are 0 there.
    """

    height: NDArray[np.float64]
    arrival: NDArray[np.float64]
    alpha: NDArray[np.float64]
    beta: NDArray[np.float64]
    fitted: NDArray[np.bool_]

    def area(self) -> NDArray[np.float64]:
        """∫ y dt from arrival to infinity: the first pass without recirculation, unit of the curve · s."""
        a = np.where(self.fitted, self.alpha, 1.0)
        log_factor = a - (a + 1) * np.log(a) + gammaln(a + 1)
        return np.asarray(np.where(self.fitted, self.height * a * self.beta * np.exp(log_factor), 0.0))


def gamma_variate(
    time: ArrayLike, *, height: ArrayLike, arrival: ArrayLike, alpha: ArrayLike, beta: ArrayLike
) -> NDArray[np.float64]:
    """A·((t − t0)/(αβ))^α·e^{α − (t − t0)/β}, and 0 before t0; arguments broadcast.

    Parameters
    ----------
    time : array_like
        t, s.
    height, arrival, alpha, beta : array_like
        A (any unit), t0 (s), α, β (s).

    Returns
    -------
    ndarray, float64
    """
    peak_time = np.asarray(alpha, dtype=float) * np.asarray(beta, dtype=float)
    x = np.maximum((np.asarray(time, dtype=float) - np.asarray(arrival, dtype=float)) / peak_time, 0)
    safe = np.maximum(x, 1e-12)
    return np.asarray(np.where(x > 0, height * np.exp(alpha * (np.log(safe) + 1 - safe)), 0.0))


def fit_gamma_variate(curves: NDArray[np.floating], *, time_step: float) -> GammaVariate:
    """Least-squares fit of every voxel's first pass (Levenberg–Marquardt on stacked 4 × 4 systems).

    Start: α = 5, t0 = last sample ≤ 5 % of the peak, β = (time to peak − t0)/α. Samples after the peak take
    part until the curve has come down to 20 % of it.

    Parameters
    ----------
    curves : ndarray, shape (..., t)
        −ln(S/S0) or ΔR2*, over the window that holds the first pass.
    time_step : float
        Interval between samples, s; the first sample is at time 0.

    Returns
    -------
    GammaVariate
    """
    data = np.asarray(curves)
    flat = data.reshape(-1, data.shape[-1])
    out = np.zeros((len(flat), 4))
    fitted = np.zeros(len(flat), dtype=bool)

    # Voxels whose first pass is equally long go together: samples that none of them uses are cut off.
    n_used = first_pass_weights(flat)[0].sum(axis=1).astype(int)
    order = np.argsort(n_used, kind="stable")

    def fit(start: int) -> None:
        part = order[start : start + _CHUNK]
        n_times = max(int(n_used[part[-1]]), 2)
        out[part], fitted[part] = _fit_chunk(flat[part, :n_times].astype(np.float32), time_step)

    with ThreadPoolExecutor(_N_THREADS) as pool:  # numpy lets go of the interpreter in its loops
        list(pool.map(fit, range(0, len(flat), _CHUNK)))
    height, arrival, peak_time, alpha = (column.reshape(data.shape[:-1]) for column in out.T)
    beta = np.divide(peak_time, alpha, out=np.zeros_like(alpha), where=alpha > 0)
    return GammaVariate(height, arrival, alpha, beta, fitted.reshape(data.shape[:-1]))


def first_pass_weights(curves: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """1 for the samples of each curve's first pass, else 0, and the index of each peak.

    Parameters
    ----------
    curves : ndarray, shape (n, t)

    Returns
    -------
    weights : ndarray, float32, shape (n, t)
    peak : ndarray of int, shape (n,)
    """
    peak = curves.argmax(axis=1)
    index = np.arange(curves.shape[1])
    top = curves[np.arange(len(curves)), peak][:, np.newaxis]
    fallen = (curves < END_FRACTION * top) & (index > peak[:, np.newaxis])
    end = np.where(fallen.any(axis=1), fallen.argmax(axis=1), curves.shape[1])
    return (index < end[:, np.newaxis]).astype(np.float32), peak


def _fit_chunk(y: FloatArray, time_step: float) -> tuple[FloatArray, NDArray[np.bool_]]:
    weights, peak = first_pass_weights(y)
    height = y[np.arange(len(y)), peak]
    index = np.arange(y.shape[1])
    before = (y <= ARRIVAL_FRACTION * height[:, np.newaxis]) & (index < peak[:, np.newaxis])
    onset = np.where(before.any(axis=1), y.shape[1] - 1 - before[:, ::-1].argmax(axis=1), 0)
    good = (height > 0) & (peak > onset) & (weights.sum(axis=1) - onset >= MIN_SAMPLES)
    theta = np.zeros((len(y), 4), dtype=np.float32)
    if good.any():
        unit, rise = height[good], (peak - onset)[good] * time_step
        start = np.stack(
            [np.ones_like(unit), onset[good] * time_step, rise, np.full_like(unit, START_ALPHA)], 1
        )
        time = np.arange(y.shape[1], dtype=np.float32) * np.float32(time_step)
        start = start.astype(np.float32)
        theta[good] = _levenberg_marquardt(y[good] / unit[:, np.newaxis], weights[good], start, time)
        theta[good, 0] *= unit
    return theta, good


def _levenberg_marquardt(
    y: FloatArray,
    weights: FloatArray,
    theta: FloatArray,
    time: FloatArray,
) -> FloatArray:
    """Columns of `theta`: height, arrival, time from arrival to peak, alpha. Converged voxels drop out.

    Curves come with a peak of 1, so that no step depends on the scale of the signal.
    """
    low = np.array([0.0, time[0] - 30.0, 0.2 * (time[1] - time[0]), _ALPHA_RANGE[0]], dtype=np.float32)
    high = np.array([np.inf, time[-1], 2 * (time[-1] - time[0]), _ALPHA_RANGE[1]], dtype=np.float32)
    theta = theta.copy()
    active = np.arange(len(y))
    damping = np.full(len(y), 1e-2, dtype=np.float32)
    model, *basis = _model(theta, time)
    residual = (y - model) * weights
    cost = np.square(residual).sum(axis=1)
    for _ in range(_MAX_STEPS):
        now = theta[active]
        jacobian = _jacobian(now, model, basis) * weights[active][:, np.newaxis]
        normal = jacobian @ jacobian.transpose(0, 2, 1)
        diagonal = np.einsum("nii->ni", normal)
        diagonal += (
            damping[active][:, np.newaxis] * diagonal + 1e-7 * diagonal.max(axis=1, keepdims=True) + 1e-30
        )
        step = np.linalg.solve(normal, jacobian @ residual[..., np.newaxis])[..., 0]
        trial = np.clip(now + step, low, high).astype(np.float32, copy=False)
        trial_model, *trial_basis = _model(trial, time)
        trial_residual = (y[active] - trial_model) * weights[active]
        trial_cost = np.square(trial_residual).sum(axis=1)
        better = trial_cost <= cost[active]
        gain = cost[active] - trial_cost
        damping[active] = np.where(better, damping[active] * 0.2, damping[active] * 5)
        done = (better & (gain <= _CONVERGED * cost[active])) | (damping[active] > 1e8)
        theta[active[better]], cost[active[better]] = trial[better], trial_cost[better]
        left, taken = ~done, better[~done][:, np.newaxis]
        active = active[left]
        if active.size == 0:
            break
        model, residual, *basis = (
            np.where(taken, new[left], old[left])
            for new, old in zip(
                (trial_model, trial_residual, *trial_basis), (model, residual, *basis), strict=True
            )
        )
    return theta


def _model(theta: FloatArray, time: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Model curves, and x with its logarithm for the derivatives. Shapes (n, t)."""
    height, arrival, peak_time, alpha = (theta[:, k, np.newaxis] for k in range(4))
    x = np.maximum((time - arrival) / peak_time, 1e-4)
    log_x = np.log(x)
    return height * np.exp(alpha * (log_x + 1 - x)), x, log_x


def _jacobian(
    theta: FloatArray,
    model: FloatArray,
    basis: Sequence[FloatArray],
) -> FloatArray:
    """∂y/∂(height, arrival, time to peak, alpha), shape (n, 4, t)."""
    x, log_x = basis
    height, _, peak_time, alpha = (theta[:, k, np.newaxis] for k in range(4))
    slope = model * alpha * (x - 1) / peak_time
    return np.stack([model / np.maximum(height, 1e-30), slope / x, slope, model * (log_x + 1 - x)], axis=1)
