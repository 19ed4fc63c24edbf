"""How good a series is, in numbers: noise, clipped values, repeated volumes, drift, an unfinished or a second pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perfmap.physics.bolus import SIGNAL_FLOOR, Bolus, mend_spikes
from perfmap.physics.passes import further_hollows, pass_height, smooth_height

_SAME = 0.999
"""Share of voxels that must be exactly equal for a volume to count as the repetition of the one before."""


def temporal_snr(baseline: NDArray[np.floating]) -> float:
    """Median over voxels of mean over noise, the noise taken from differences of neighbouring volumes.

    Differences leave slow drift out, and the straight line where there are enough of them. With as few as three
    volumes the value is about a fifth too high.

    Parameters
    ----------
    baseline : ndarray, shape (n, t)
        Steady volumes before the bolus of n voxels, arbitrary unit; at least two volumes.

    Returns
    -------
    float
        Infinite without noise; 0 where no voxel has a signal.
    """
    mean = baseline.mean(axis=1, dtype=np.float64)
    lit = mean > 0
    if baseline.shape[1] < 2 or not lit.any():
        return 0.0
    steps = np.diff(baseline[lit].astype(np.float64), axis=1)
    n = steps.shape[1]
    total = np.square(steps).sum(axis=1)
    if n >= 3:  # without the straight line; what it takes of the noise is made up for
        total, n = total - n * np.square(steps.mean(axis=1)), n - 1 / n
    variance = np.maximum(total, 0) / (2 * n)
    relative = float(np.median(variance / mean[lit] ** 2))
    return float("inf") if relative == 0 else float(1 / np.sqrt(relative))


def repeated_volumes(signal: NDArray[np.floating]) -> tuple[int, ...]:
    """Volumes that repeat the one before them, value for value: what some exports put for a lost volume.

    Parameters
    ----------
    signal : ndarray, shape (n, t)
        Signal of n voxels of the brain.

    Returns
    -------
    tuple of int
    """
    equal = np.mean(signal[:, 1:] == signal[:, :-1], axis=0)
    return tuple(int(i) + 1 for i in np.flatnonzero(equal >= _SAME))


def share_at_ceiling(baseline: NDArray[np.floating], *, ceiling: float) -> float:
    """Share of values in the baseline that are as large as the largest value of the whole series.

    Clipped voxels lose a part of their baseline, so their loss of signal reads too small.

    Parameters
    ----------
    baseline : ndarray, shape (n, t)
        Steady volumes before the bolus of n voxels of the brain.
    ceiling : float
        Largest value in the series, brain or not.
    """
    return float(np.mean(baseline >= ceiling)) if baseline.size else 0.0


def extinguished_share(lowest: NDArray[np.floating], baseline: NDArray[np.floating]) -> float:
    """Share of voxels whose signal at the peak of the bolus is below 5 % of its baseline: its depth is not seen.

    Parameters
    ----------
    lowest : ndarray, shape (n,)
        Signal at the peak.
    baseline : ndarray, shape (n,)
        S0.
    """
    return float(np.mean(lowest < 5 * SIGNAL_FLOOR * baseline)) if baseline.size else 0.0


def drop_of(curve: NDArray[np.float64], bolus: Bolus) -> float:
    """Loss of signal of a mean curve at its peak, as a part of its baseline. 0 to 1."""
    return float(1 - curve[bolus.peak] / curve[bolus.baseline].mean())


def baseline_drift(curve: NDArray[np.float64], bolus: Bolus) -> float:
    """Change of a mean curve over its baseline, by a straight line through it, as a part of its mean.

    What is left of an unsteady start, and drift. Spikes are mended first; 0 for fewer than four volumes.
    """
    steady = mend_spikes(curve.astype(np.float32), bolus)[bolus.baseline].astype(np.float64)
    if steady.size < 4:
        return 0.0
    slope = np.polyfit(np.arange(steady.size), steady / steady.mean(), 1)[0]
    return float(abs(slope) * (steady.size - 1))


def unfinished_pass(curve: NDArray[np.float64], bolus: Bolus) -> float:
    """How high the mean −ln(S/S0) still stands where the series ends, if that is within the first pass.

    Returns
    -------
    float
        Lowest height after the peak as a part of the peak's; 0 where the first pass ends before the series does.
    """
    if bolus.end < curve.size:
        return 0.0
    height = _height(curve, bolus)
    return float(np.clip(height[bolus.peak :].min() / height[bolus.peak], 0, 1))


def second_bolus(curve: NDArray[np.float64], bolus: Bolus, *, time_step: float) -> tuple[float, float]:
    """Prominence of the largest hollow before the first pass, and behind it, as parts of the first pass's depth.

    Before it: an injection whose agent is still there. Behind it: a later injection, or the agent that recirculates,
    which stands out by up to a fifth on healthy series; the two are judged apart.

    Parameters
    ----------
    curve : ndarray, shape (t,)
        Mean signal of the brain.
    bolus : Bolus
    time_step : float
        s.

    Returns
    -------
    tuple of float
        0 to 1, as −ln(S/S0).
    """
    smooth = smooth_height(curve, bolus, time_step=time_step)
    peaks, prominence = further_hollows(smooth, bolus, time_step=time_step)
    height = pass_height(curve, bolus)[bolus.peak]
    if not height > 0:
        return 0.0, 0.0
    earlier, later = (
        float(np.clip(prominence[side].max(initial=0.0) / height, 0, 1))
        for side in (peaks < bolus.peak, peaks > bolus.peak)
    )
    return earlier, later


def _height(curve: NDArray[np.float64], bolus: Bolus) -> NDArray[np.float64]:
    level = curve[bolus.baseline].mean()
    return np.asarray(-np.log(np.maximum(curve / level, SIGNAL_FLOOR)))
