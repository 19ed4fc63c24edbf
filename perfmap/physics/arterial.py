"""Find the arterial input function in a series, and put its partial volume right by a vein."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.vq import kmeans2

from perfmap.errors import InputError
from perfmap.physics.bolus import Bolus
from perfmap.physics.timing import crossing

MIN_DROP = 0.2
"""Smallest signal drop of an arterial voxel, as a part of its baseline."""
SATURATION = 0.04
"""A voxel whose signal falls below this part of its baseline, or into its own noise, is saturated."""
SECOND_PEAK = 0.6
UNDERSHOOT = 0.1
N_BY_DROP = 50
N_BEST = 5
MIN_VOXELS = 3
N_CLUSTERS = 5
LARGE_AREA = 0.1
"""k-means: part of the voxels kept by area under the curve."""
ROUGH_PART = 0.25
"""k-means: part of those dropped as the roughest."""

_NOISE_MARGIN = 2.0
_MIN_CLUSTER = 6
_N_STARTS = 10
_ARTERIAL_LEAD = 3  # volumes
_N_LATE = 10  # volumes


@dataclass(frozen=True)
class ArterialInput:
    """An arterial input function and where it came from.

    Attributes
    ----------
    curve : ndarray, shape (t,)
        Mean ΔR2* of the chosen voxels (or −ln(S/S0), as given).
    voxels : ndarray of int
        Indices of the chosen voxels among those given.
    """

    curve: NDArray[np.float64]
    voxels: NDArray[np.intp]


@dataclass(frozen=True)
class CurveShape:
    """Shape of each curve, arrays of shape (n,): drop is a part of S0, times are in s from volume 0.

    A curve is `distorted` if it has a second peak of 60 % of the first one (signal of blood and tissue in
    opposite phase), or ends below its baseline by more than a tenth of its peak (T1 effects).
    """

    drop: NDArray[np.float64]
    slope: NDArray[np.float64]
    width: NDArray[np.float64]
    arrival: NDArray[np.float64]
    saturated: NDArray[np.bool_]
    distorted: NDArray[np.bool_]


def curve_shape(log_ratio: NDArray[np.floating], bolus: Bolus, *, time_step: float) -> CurveShape:
    """Drop, steepest rise, full width at half maximum and arrival of each curve.

    Parameters
    ----------
    log_ratio : ndarray, shape (n, t)
        −ln(S/S0).
    bolus : Bolus
        Of the brain mean.
    time_step : float
        Interval between volumes, s.

    Returns
    -------
    CurveShape
    """
    curves = np.asarray(log_ratio, dtype=float)
    first = bolus.window.start
    passing = curves[:, first:]
    row = np.arange(len(curves))
    peak = passing[:, : max(bolus.end - first, 2)].argmax(axis=1)
    height = passing[row, peak]
    rise = np.diff(curves[:, max(first - 1, 0) : bolus.end], axis=1).max(axis=1) / time_step
    width = crossing(passing, peak, 0.5, after=True) - crossing(passing, peak, 0.5)
    arrival = first + crossing(passing, peak, 0.1)
    noise = curves[:, bolus.baseline].std(axis=1, ddof=1)
    lowest = np.exp(-height)
    saturated = lowest < np.maximum(SATURATION, _NOISE_MARGIN * noise)
    distorted = _second_peak(passing, peak) > SECOND_PEAK * height
    distorted |= curves[:, -_N_LATE:].mean(axis=1) < -UNDERSHOOT * height
    return CurveShape(1 - lowest, rise, width * time_step, arrival * time_step, saturated, distorted)


def arterial_input_by_score(
    log_ratio: NDArray[np.floating], bolus: Bolus, *, time_step: float
) -> ArterialInput:
    """Average of the voxels with the best drop · slope/(FWHM · (BAT + 1)²).

    BAT is counted in seconds from the earliest percentile of the candidates, so the score does not depend on
    how long the baseline is. Saturated and distorted voxels, drops below 20 % and widths above half of the
    series are left out; of the rest the 50 with the largest drop are ranked, and the best five averaged.

    Parameters
    ----------
    log_ratio : ndarray, shape (n, t)
        −ln(S/S0) of the voxels inside the brain mask.
    bolus : Bolus
        Of the brain mean.
    time_step : float
        Interval between volumes, s.

    Returns
    -------
    ArterialInput

    Raises
    ------
    InputError
        If fewer than three voxels qualify.
    """
    shape = curve_shape(log_ratio, bolus, time_step=time_step)
    duration = time_step * log_ratio.shape[1]
    fit = ~shape.saturated & ~shape.distorted & (shape.drop >= MIN_DROP)
    fit &= (shape.width > 0) & (shape.width <= duration / 2)
    candidates = np.flatnonzero(fit)
    if candidates.size < MIN_VOXELS:
        raise InputError(
            f"no arterial input found: {candidates.size} of {len(log_ratio)} voxels drop by {MIN_DROP:.0%} without "
            f"saturation, wanted at least {MIN_VOXELS}; give a curve or a mask of artery voxels with --aif"
        )
    candidates = candidates[np.argsort(-shape.drop[candidates], kind="stable")[:N_BY_DROP]]
    late = np.maximum(shape.arrival[candidates] - np.percentile(shape.arrival[candidates], 1), 0)
    score = shape.drop[candidates] * shape.slope[candidates] / (shape.width[candidates] * (late + 1) ** 2)
    chosen = np.sort(candidates[np.argsort(-score, kind="stable")[:N_BEST]])
    return ArterialInput(np.asarray(log_ratio[chosen].mean(axis=0, dtype=float)), chosen)


def arterial_input_by_clusters(
    log_ratio: NDArray[np.floating], bolus: Bolus, *, time_step: float, rng: np.random.Generator
) -> ArterialInput:
    """Mouridsen's k-means: the cluster with the earliest first moment, twice. doi 10.1002/mrm.20759.

    The tenth of the unsaturated voxels with the largest area is kept, its roughest quarter dropped, curves
    scaled to unit area and clustered; the cluster with the lowest first moment is clustered once more.
    Roughness is read outside of the first pass: inside, the narrow bolus of an artery itself is rough.

    Parameters
    ----------
    log_ratio, bolus, time_step
        As in `arterial_input_by_score`.
    rng : numpy.random.Generator
        Start of the clusters.

    Returns
    -------
    ArterialInput

    Raises
    ------
    InputError
        If too few voxels are left to be clustered.
    """
    curves = np.asarray(log_ratio, dtype=float)[:, bolus.window]
    area = curves.sum(axis=1) * time_step
    shape = curve_shape(log_ratio, bolus, time_step=time_step)
    voxels = np.flatnonzero(~shape.saturated & ~shape.distorted & (shape.drop >= MIN_DROP) & (area > 0))
    voxels = voxels[np.argsort(-area[voxels], kind="stable")[: int(LARGE_AREA * len(curves))]]
    roughness = _roughness(log_ratio[voxels], bolus) / np.square(area[voxels])
    voxels = voxels[np.argsort(roughness, kind="stable")[: int((1 - ROUGH_PART) * voxels.size)]]
    if voxels.size < _MIN_CLUSTER:
        raise InputError(
            f"no arterial input found: {voxels.size} voxels with a smooth and large bolus, wanted at least "
            f"{_MIN_CLUSTER}; give a curve or a mask of artery voxels with --aif"
        )
    for _ in range(2):
        voxels = _earliest_cluster(curves, area, voxels, rng)
    voxels = np.sort(voxels)
    return ArterialInput(np.asarray(log_ratio[voxels].mean(axis=0, dtype=float)), voxels)


def venous_output(log_ratio: NDArray[np.floating], bolus: Bolus, *, time_step: float) -> ArterialInput:
    """Average of the five voxels of largest area that arrive late and are not saturated.

    Parameters
    ----------
    log_ratio, bolus, time_step
        As in `arterial_input_by_score`.

    Returns
    -------
    ArterialInput

    Raises
    ------
    InputError
        If fewer than three voxels qualify.
    """
    shape = curve_shape(log_ratio, bolus, time_step=time_step)
    fit = ~shape.saturated & ~shape.distorted & (shape.drop >= MIN_DROP)
    candidates = np.flatnonzero(fit & (shape.arrival >= np.median(shape.arrival[fit]) if fit.any() else fit))
    if candidates.size < MIN_VOXELS:
        raise InputError(
            f"no venous output found: {candidates.size} late voxels drop by {MIN_DROP:.0%} without saturation, "
            f"wanted at least {MIN_VOXELS}; leave the venous rescaling out"
        )
    area = log_ratio[candidates].sum(axis=1, dtype=float)
    chosen = np.sort(candidates[np.argsort(-area, kind="stable")[:N_BEST]])
    return ArterialInput(np.asarray(log_ratio[chosen].mean(axis=0, dtype=float)), chosen)


def rescale_by_venous_output(aif: ArrayLike, venous: ArrayLike) -> NDArray[np.float64]:
    """Scale an arterial curve to the area of a venous one: the same blood passes both.

    Parameters
    ----------
    aif, venous : array_like, shape (t,)
        Curves in the same unit. The vein is wide enough to be free of partial volume.

    Returns
    -------
    ndarray, float64, shape (t,)
        The arterial curve times the ratio of the areas, a ratio below 1 counting as 1.

    Raises
    ------
    InputError
        If one of the areas is not positive.
    """
    arterial, late = np.asarray(aif, dtype=float), np.asarray(venous, dtype=float)
    if arterial.sum() <= 0 or late.sum() <= 0:
        raise InputError(
            "arterial or venous curve has no positive area, wanted a bolus in both; choose other voxels"
        )
    return np.asarray(arterial * max(late.sum() / arterial.sum(), 1.0))


def _second_peak(curves: NDArray[np.float64], peak: NDArray[np.intp]) -> NDArray[np.float64]:
    """Largest value outside of the unbroken stretch around the peak that stays above half of it."""
    index = np.arange(curves.shape[1])
    low = curves < 0.5 * curves[np.arange(len(curves)), peak][:, np.newaxis]
    before = np.where(low & (index < peak[:, np.newaxis]), index, -1).max(axis=1)
    after = np.where(low & (index > peak[:, np.newaxis]), index, index.size).min(axis=1)
    outside = (index <= before[:, np.newaxis]) | (index >= after[:, np.newaxis])
    return np.asarray(np.where(outside, curves, -np.inf).max(axis=1))


def _roughness(curves: NDArray[np.floating], bolus: Bolus) -> NDArray[np.float64]:
    """Sum of squared second differences before and after the first pass; arteries rise before the brain does."""
    before = slice(bolus.n_unsteady, max(bolus.arrival - _ARTERIAL_LEAD, bolus.n_unsteady))
    outside = (curves[:, before], curves[:, bolus.end :])
    return np.asarray(sum(np.square(np.diff(part, n=2, axis=1)).sum(axis=1, dtype=float) for part in outside))


def _earliest_cluster(
    curves: NDArray[np.float64],
    area: NDArray[np.float64],
    voxels: NDArray[np.intp],
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Cluster with the lowest first moment; the voxels as they are where they are too few to split."""
    n_clusters = min(N_CLUSTERS, voxels.size // MIN_VOXELS)
    if n_clusters < 2:
        return voxels
    unit = curves[voxels] / area[voxels, np.newaxis]
    runs = [kmeans2(unit, n_clusters, minit="++", rng=rng, missing="warn") for _ in range(_N_STARTS)]
    centres, label = min(runs, key=lambda run: float(np.square(unit - run[0][run[1]]).sum()))
    moment = centres @ np.arange(curves.shape[1]) / np.maximum(centres.sum(axis=1), 1e-12)
    count = np.bincount(label, minlength=n_clusters)
    moment[count < MIN_VOXELS] = np.inf
    best = int(np.argmin(moment))
    return voxels[label == best] if np.isfinite(moment[best]) else voxels
