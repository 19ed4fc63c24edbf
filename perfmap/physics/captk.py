"""CaPTk's perfusion derivatives (ap-rCBV, PSR, PH), the reference maps of UPENN-GBM, to the last bit.

Written from the behaviour of ``src/applications/PerfusionDerivatives.h`` of CBICA/CaPTk: voxels are float32,
sums are float64, C's ``round`` goes half away from zero. The echo time is fixed at 50 ms there whatever the
scan's was, nothing is corrected for leakage, and the scale is that of one patient: ap-rCBV is neither
ml/100 g, nor comparable between patients before it is normalised to white matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perfmap.errors import InputError

ECHO_TIME = 0.05
"""The echo time CaPTk divides by, s."""
MASK_VOLUME = 6
"""Volume whose intensities make the mask."""
MASK_LEVEL = 30.0
"""Intensities below this are outside the mask; the mean curve takes only those above it."""
SCALE = 255.0

_EPS = 2.2204e-16
_MARGIN = 0.5


@dataclass(frozen=True)
class CaptkMaps:
    """The three maps, float32, shape (x, y, z).

    Attributes
    ----------
    ap_rcbv : ndarray
        Relative CBV, 255 at about the 99.9th percentile of the patient; not clipped.
    psr : ndarray
        Percentage signal recovery; 255 is full recovery, more is cut to 255, negative values stay.
    ph : ndarray
        Height of the signal drop, unit of the signal.
    """

    ap_rcbv: NDArray[np.float32]
    psr: NDArray[np.float32]
    ph: NDArray[np.float32]


@dataclass(frozen=True)
class CaptkWindows:
    """Volume indices, both ends inclusive: baseline from 0 to `baseline_end`, recovery from start to end."""

    baseline_end: int
    recovery_start: int
    recovery_end: int


def captk_windows(n_times: int) -> CaptkWindows:
    """20 %, 66 % and 88 % of the series, truncated.

    Parameters
    ----------
    n_times : int
        Number of volumes T.

    Returns
    -------
    CaptkWindows
        For T = 45: 9, 29, 39.
    """
    return CaptkWindows(int(n_times * 20 / 100), int(n_times * 66 / 100), int(n_times * 88 / 100))


def round_half_away(values: ArrayLike) -> NDArray[np.float64]:
    """C's ``round``: halves go away from zero. NumPy's rounds halves to even.

    Parameters
    ----------
    values : array_like

    Returns
    -------
    ndarray, float64, same shape
    """
    data = np.asarray(values, dtype=np.float64)
    whole = np.trunc(data)
    return np.asarray(whole + np.sign(data) * (np.abs(data - whole) >= 0.5))


def captk_maps(signal: NDArray[np.floating]) -> CaptkMaps:
    """Compute the three maps of a whole series.

    Parameters
    ----------
    signal : ndarray, shape (x, y, z, t)
        Signal on the scanner's own scale (the mask level of 30 is an intensity), not negative.

    Returns
    -------
    CaptkMaps

    Raises
    ------
    InputError
        If the series has fewer than seven volumes or negative values, if the mean curve is not lowest between
        the baseline and the recovery window, if no voxel is inside the mask, or if the scale would be zero.
    """
    data = np.asarray(signal, dtype=np.float32)
    windows = captk_windows(data.shape[-1])
    _check(data, windows)
    mean = _mean_of(data, 0, windows.baseline_end)
    baseline = mean.astype(np.float32)
    lowest = data.min(axis=-1)
    psr = _signal_recovery(data, windows, baseline, lowest)
    return CaptkMaps(_relative_volume(data, mean), psr, np.abs(baseline - lowest))


def _check(data: NDArray[np.float32], windows: CaptkWindows) -> None:
    if data.ndim != 4 or data.shape[-1] <= MASK_VOLUME:
        raise InputError(
            f"series has shape {data.shape}, CaPTk's maps want four axes and more than {MASK_VOLUME} volumes; "
            "choose another method"
        )
    if not np.isfinite(data).all() or data.min() < 0:
        raise InputError(
            "series holds negative or invalid values, CaPTk's maps want plain intensities; give the scanner's "
            "own image"
        )
    curve = round_half_away(data.mean(axis=(0, 1, 2), dtype=np.float64))
    lowest = int(curve.argmin())
    if not windows.baseline_end < lowest < windows.recovery_start:
        raise InputError(
            f"the mean curve is lowest at volume {lowest}, CaPTk's fixed windows want it between "
            f"{windows.baseline_end + 1} and {windows.recovery_start - 1} of {data.shape[-1]}; "
            "choose another method, or cut the series"
        )


def _sum_of(data: NDArray[np.float32], first: int, last: int) -> NDArray[np.float64]:
    """Sum of volumes, both ends inclusive, one after the other in float64 as CaPTk's loops do."""
    total = np.zeros(data.shape[:-1])
    for index in range(first, last + 1):
        total += data[..., index]
    return total


def _mean_of(data: NDArray[np.float32], first: int, last: int) -> NDArray[np.float64]:
    return np.asarray(_sum_of(data, first, last) / (last - first + 1))


def _signal_recovery(
    data: NDArray[np.float32],
    windows: CaptkWindows,
    baseline: NDArray[np.float32],
    lowest: NDArray[np.float32],
) -> NDArray[np.float32]:
    recovered = _mean_of(data, windows.recovery_start, windows.recovery_end).astype(np.float32)
    drop = baseline - lowest
    ratio = np.divide(recovered - lowest, drop, out=np.zeros_like(drop), where=drop != 0) * np.float32(SCALE)
    return np.where(ratio <= SCALE, round_half_away(ratio), SCALE).astype(np.float32)


def _relative_volume(data: NDArray[np.float32], mean: NDArray[np.float64]) -> NDArray[np.float32]:
    divisor = (round_half_away(mean).astype(np.float32) + _EPS).astype(np.float32)
    volume_six = data[..., MASK_VOLUME]
    inside = volume_six > MASK_LEVEL
    if not inside.any():
        raise InputError(
            f"no voxel of volume {MASK_VOLUME} is brighter than {MASK_LEVEL:.0f}, as CaPTk's mask wants; "
            "give the scanner's own intensities, not normalised ones"
        )
    delta = _delta_r2star(data / divisor[..., np.newaxis])
    first, last = _integration_range(delta[inside])
    summed = _sum_of(delta, first, last)
    # Exactly 30 is kept in the map although it is left out of the mean curve; only what is below 30 became 0.
    summed[volume_six < MASK_LEVEL] = 0
    white = float(round_half_away(brightest_level(summed)))
    if white <= 0:
        raise InputError(
            f"CaPTk's scale, the 99.9th percentile of the sums, is {white:.0f}, wanted a positive number; "
            "the series holds too little contrast agent for CaPTk's maps"
        )
    scaled = summed.astype(np.float32) * np.float32(SCALE)
    return np.asarray(scaled.astype(np.float64) / white, dtype=np.float32)


def brightest_level(values: NDArray[np.floating]) -> float:
    """The 99.9th percentile as CaPTk takes it, of all voxels, those outside of the brain included.

    Parameters
    ----------
    values : ndarray
        A whole map, 0 outside of the brain.

    Returns
    -------
    float
        In the unit of the map.
    """
    ranked = np.sort(values, axis=None)
    top = int(np.searchsorted(ranked, ranked[-1], side="left"))
    return float(ranked[int(round_half_away(top - 0.001 * top))])


def _delta_r2star(ratio: NDArray[np.float32]) -> NDArray[np.float32]:
    """−ln(q)/0.05 with q = min(ratio, 1), and 0 where q = 0.

    The logarithm is rounded to float32 from float64, the nearest one can come to C's ``logf``: NumPy's own
    float32 logarithm may be off by several units of the last place.
    """
    clipped = np.minimum(ratio, np.float32(1)).astype(np.float64)
    logarithm = np.log(clipped, out=np.zeros_like(clipped), where=clipped != 0).astype(np.float32)
    return np.asarray(-logarithm.astype(np.float64) / ECHO_TIME, dtype=np.float32)


def _integration_range(curves: NDArray[np.float32]) -> tuple[int, int]:
    """First and last volume of the sum, both inclusive."""
    mean = np.maximum(curves.mean(axis=0, dtype=np.float64), 0)
    peak = int(mean.argmax())
    first = int(mean[: peak + 1].argmin())
    after = mean[peak:]
    return first, peak + int(np.argmax(after < after.min() + _MARGIN))
