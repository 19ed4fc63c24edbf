"""Find bolus, baseline and brain in a series, each with the help of the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.physics.bolus import Bolus, baseline_signal, find_bolus
from perfmap.preprocess.mask import brain_mask
from perfmap.series import FloatArray, Series

MAX_NONFINITE = 0.01
"""Share of the brain's voxels that may hold values that are not finite."""
NO_SIGNAL = 0.02
"""A voxel whose baseline is below this share of the brain's median gives no reading."""


@dataclass(frozen=True)
class Brain:
    """Where and when to look in a series.

    Attributes
    ----------
    bolus : Bolus
        Of the mean over `mask`.
    mean_curve : ndarray, shape (t,)
        Mean signal over `mask`, arbitrary unit.
    baseline : ndarray, float32, shape (x, y, z)
        S0; 0 where a value of the series is not finite.
    mask : ndarray, bool, shape (x, y, z)
        Brain voxels with a reading.
    notes : tuple of str
        What had to be left out.
    """

    bolus: Bolus
    mean_curve: NDArray[np.float64]
    baseline: FloatArray
    mask: NDArray[np.bool_]
    notes: tuple[str, ...]


def voxel_size(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Edge lengths of a voxel along the array's axes, mm."""
    x, y, z = (float(edge) for edge in np.linalg.norm(affine[:3, :3], axis=0))
    return x, y, z


def find_brain(series: Series, *, mask: NDArray[np.bool_] | None = None, method: str = "otsu") -> Brain:
    """Find the bolus in a rough head, the brain in the baseline before it, and the bolus in that brain.

    Parameters
    ----------
    series : Series
    mask : ndarray of bool, shape (x, y, z), optional
        Brain mask; found where it is not given.
    method : str
        Of `perfmap.preprocess.mask.brain_mask`.

    Returns
    -------
    Brain

    Raises
    ------
    InputError
        If the series holds no usable signal or no bolus, the mask fits nothing, or more than 1 % of the brain
        is not finite.
    """
    finite = np.asarray(np.isfinite(series.signal).all(axis=-1))
    if not finite.any() or not (series.signal[finite] > 0).any():
        raise InputError("no voxel of the series is finite and positive; export the magnitude images again")
    if mask is not None and not (mask & finite).any():
        raise InputError("the mask selects no voxel with a signal; check that it belongs to this series")
    if mask is None:
        rough = find_bolus(_mean_curve(series, _rough_head(series, finite)), time_step=series.time_step)
        baseline = np.where(finite, baseline_signal(series.signal, rough), 0).astype(np.float32)
        drop = _drop(series, rough, baseline)
        mask = brain_mask(baseline, voxel_size=voxel_size(series.affine), method=method, drop=drop)
    curve = _mean_curve(series, mask & finite)
    bolus = find_bolus(curve, time_step=series.time_step)
    baseline = np.where(finite, baseline_signal(series.signal, bolus), 0).astype(np.float32)
    usable, notes = _usable(mask, finite, baseline)
    return Brain(bolus, curve, baseline, usable, notes)


def _mean_curve(series: Series, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(series.signal[mask].mean(axis=0, dtype=np.float64))


def _rough_head(series: Series, finite: NDArray[np.bool_]) -> NDArray[np.bool_]:
    mean = np.where(finite, series.signal.mean(axis=-1), 0)
    return np.asarray(finite & (mean > np.percentile(mean, 95) / 3))


def _drop(series: Series, bolus: Bolus, baseline: FloatArray) -> FloatArray:
    """Depth of the bolus, 1 − S/S0 around the peak, averaged over three volumes against noise."""
    around = series.signal[..., max(bolus.peak - 1, 0) : bolus.peak + 2].mean(axis=-1)
    drop = 1 - np.divide(around, baseline, out=np.ones_like(baseline), where=baseline > 0)
    return np.nan_to_num(drop, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)


def _usable(
    mask: NDArray[np.bool_], finite: NDArray[np.bool_], baseline: FloatArray
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    n_bad, n_brain = int((mask & ~finite).sum()), int(mask.sum())
    if n_bad > MAX_NONFINITE * n_brain:
        raise InputError(
            f"{n_bad / n_brain:.1%} of the brain's voxels hold values that are not finite, wanted at most "
            f"{MAX_NONFINITE:.0%}; export the series again, or leave them out with --mask"
        )
    inside = mask & finite
    bright = baseline > NO_SIGNAL * np.median(baseline[inside])
    usable = inside & bright & (baseline > 0)
    if not usable.any():
        raise InputError(
            "no voxel of the brain has a positive baseline signal; check the series and the mask"
        )
    n_left_out = n_brain - int(usable.sum())
    notes = (
        (f"{n_left_out} of {n_brain} brain voxels without a usable signal are left out",)
        if n_left_out
        else ()
    )
    return np.asarray(usable), notes
