"""Arrival and time to peak of each voxel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perfmap.physics.bolus import Bolus

LOW, HIGH = 0.1, 0.5
"""The rise is drawn as a line through these parts of the peak, and followed back to zero."""


def time_to_peak(curves: NDArray[np.floating], bolus: Bolus, *, time_step: float) -> NDArray[np.float32]:
    """Time from the bolus arrival of the brain to each voxel's peak inside the first pass.

    Parameters
    ----------
    curves : ndarray, shape (..., t)
        −ln(S/S0) or ΔR2*.
    bolus : Bolus
        Of the brain mean.
    time_step : float
        Interval between volumes, s.

    Returns
    -------
    ndarray, float32, shape (...)
        TTP, s; between samples by a parabola through the peak and its neighbours.
    """
    window = bolus.window
    passing = np.asarray(curves[..., window])
    peak = passing.argmax(axis=-1)
    return np.asarray(
        (peak + _vertex(passing, peak) + window.start - bolus.arrival) * time_step, dtype=np.float32
    )


def bolus_arrival_time(
    curves: NDArray[np.floating], bolus: Bolus, *, time_step: float
) -> NDArray[np.float32]:
    """Arrival of each voxel by back-extrapolation of its rise from 10 % of its peak.

    The rise is followed down from the peak to half and to a tenth of it; the line through the two points meets
    zero at the arrival.

    Parameters
    ----------
    curves, bolus, time_step
        As in `time_to_peak`.

    Returns
    -------
    ndarray, float32, shape (...)
        Time after the first volume of the series, s; 0 where a voxel shows no peak.
    """
    window = bolus.window
    passing = np.asarray(curves[..., window]).reshape(-1, window.stop - window.start)
    peak = passing.argmax(axis=1)
    height = passing[np.arange(len(passing)), peak]
    low, high = (crossing(passing, peak, part) for part in (LOW, HIGH))
    arrival = np.maximum(low - (high - low) * LOW / (HIGH - LOW), -window.start) + window.start
    return np.asarray(np.where(height > 0, arrival * time_step, 0), dtype=np.float32).reshape(
        curves.shape[:-1]
    )


def crossing(
    curves: NDArray[np.floating], peak: NDArray[np.intp], fraction: float, *, after: bool = False
) -> NDArray[np.float64]:
    """Where each curve crosses a part of its peak, seen from the peak.

    Parameters
    ----------
    curves : ndarray, shape (n, t)
    peak : ndarray of int, shape (n,)
        Index of each peak.
    fraction : float
        Part of the peak.
    after : bool
        The first crossing after the peak instead of the last one before it.

    Returns
    -------
    ndarray, float64, shape (n,)
        Index between samples; the end of the curve where it never comes down.
    """
    index, row, last = np.arange(curves.shape[1]), np.arange(len(curves)), curves.shape[1] - 1
    level = fraction * curves[row, peak]
    side = index > peak[:, np.newaxis] if after else index < peak[:, np.newaxis]
    below = side & (curves < level[:, np.newaxis])
    nearest = below.argmax(axis=1) if after else last - below[:, ::-1].argmax(axis=1)
    outer = np.where(below.any(axis=1), nearest, last if after else 0)
    inner = np.clip(outer + (-1 if after else 1), 0, last)
    rise = (curves[row, inner] - curves[row, outer]).astype(float)
    part = np.divide(level - curves[row, outer], rise, out=np.zeros_like(rise), where=rise > 0)
    return np.asarray(outer + np.clip(part, 0, 1) * (inner - outer), dtype=float)


def _vertex(curves: NDArray[np.floating], peak: NDArray[np.intp]) -> NDArray[np.floating]:
    """Offset of the parabola's vertex from the peak sample, within half a sample."""
    last = curves.shape[-1] - 1
    at = [
        np.take_along_axis(curves, np.clip(peak + shift, 0, last)[..., np.newaxis], axis=-1)[..., 0]
        for shift in (-1, 0, 1)
    ]
    bend = at[0] - 2 * at[1] + at[2]
    offset = np.divide(0.5 * (at[0] - at[2]), bend, out=np.zeros_like(bend), where=bend < 0)
    return np.asarray(np.clip(np.where((peak > 0) & (peak < last), offset, 0), -0.5, 0.5))
