"""All boluses of a series: a preload and the bolus proper, or two injections, each with its own baseline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal as filters

from perfmap.errors import InputError
from perfmap.physics.bolus import (
    END_FRACTION,
    MIN_BASELINE,
    SIGNAL_FLOOR,
    STEADY_TOLERANCE,
    Bolus,
    find_bolus,
    mend_spikes,
)

MIN_SHARE = 0.1
"""A hollow this high, as a part of the deepest pass, spoils the map if it is not seen: `second_bolus` warns there."""
LATER_SHARE = 0.25
"""The same for a hollow behind the deepest pass: recirculation stands there, with up to a fifth of the height."""
MIN_RETURN = 0.5
"""A bolus of its own has come back by this part of its height on either side; recirculation has not."""
FULL_SHARE = 0.5
"""A pass is full, and the last full one is read, if it is this deep as a part of the deepest, as −ln(S/S0)."""

_CLEAR_OF_PASS = 5.0
"""A second bolus is looked for this far, s, behind the first-pass window."""
_SMOOTHING = 3.0
"""Width, s, of the running mean before second boluses are looked for."""
_FOOT = 0.05
"""The rise to a peak begins where the curve last stands within this part of it above the valley before."""
_SAME_PEAK = 4.0
"""Farthest, s, that a peak may lie from the hollow it was looked for in."""


@dataclass(frozen=True)
class Pass:
    """One bolus of a series.

    Attributes
    ----------
    volumes : tuple of int
        Volumes of the series that belong to it: its baseline and everything up to the next one.
    bolus : Bolus
        Where it lies among `volumes`.
    depth : float
        −ln(S/S0) of the mean curve at the peak.
    """

    volumes: tuple[int, ...]
    bolus: Bolus
    depth: float

    @property
    def arrival(self) -> int:
        """Last volume of the baseline, counted in the whole series."""
        return self.volumes[self.bolus.arrival]

    @property
    def peak(self) -> int:
        """Volume of the lowest signal, counted in the whole series."""
        return self.volumes[self.bolus.peak]

    @property
    def complete(self) -> bool:
        """Whether its first pass ends before its volumes do."""
        return self.bolus.end < self.bolus.n_times


def find_boluses(curve: NDArray[np.float64], *, time_step: float) -> tuple[Pass, ...]:
    """Find every bolus of a mean curve, in order of time.

    Beside the deepest one, which `find_bolus` finds, a hollow is a bolus if it is at least a tenth as high (a quarter
    behind the deepest, where recirculation stands), comes back by half of its height on both sides, and has a baseline
    and an arrival that `find_bolus` accepts in the part of the curve that is its own. A bolus is measured against the
    steady points before it and behind the pass before it, or, where there are none, against that pass's baseline.

    Parameters
    ----------
    curve : ndarray, shape (t,)
        Mean signal of the brain, arbitrary unit.
    time_step : float
        s.

    Returns
    -------
    tuple of Pass
        One, with all volumes, where there is one bolus.

    Raises
    ------
    InputError
        If there is none; see `find_bolus`.
    """
    curve = np.asarray(curve, dtype=np.float64)
    deepest = find_bolus(curve, time_step=time_step)
    smooth = smooth_height(curve, deepest, time_step=time_step)
    peaks, prominence = further_hollows(smooth, deepest, time_step=time_step)
    share = np.where(peaks > deepest.peak, LATER_SHARE, MIN_SHARE)
    real = (prominence >= share * smooth[deepest.peak]) & (prominence >= MIN_RETURN * smooth[peaks])
    wanted = sorted({deepest.peak, *(int(peak) for peak in peaks[real])})
    while len(wanted) > 1:
        found = [_pass_at(curve, smooth, wanted, k, time_step=time_step) for k in range(len(wanted))]
        passes = [one for one in found if one is not None]
        if len(passes) == len(wanted):
            return tuple(passes)
        kept = [peak for peak, one in zip(wanted, found, strict=True) if one is not None]
        wanted = sorted({deepest.peak, *kept}) if len({deepest.peak, *kept}) < len(wanted) else [deepest.peak]
    return (Pass(tuple(range(curve.size)), deepest, _depth(curve, deepest)),)


def choose_pass(passes: tuple[Pass, ...], number: int | None = None) -> int:
    """Index of the pass to read: the last full one whose first pass ends, or the one asked for, counted from 1.

    Raises
    ------
    InputError
        If there is no such bolus; the message names those that were found.
    """
    if number is not None:
        if not 1 <= number <= len(passes):
            raise InputError(
                f"--bolus is {number}, but the series holds {describe_passes(passes)}; "
                f"give a number from 1 to {len(passes)}"
            )
        return number - 1
    deepest = max(range(len(passes)), key=lambda k: passes[k].depth)
    # Where values are beyond all sense the depth is not a number, or negative: the deepest is full by itself.
    full = [
        k for k, one in enumerate(passes) if k == deepest or one.depth >= FULL_SHARE * passes[deepest].depth
    ]
    return ([k for k in full if passes[k].complete] or full)[-1]


def describe_passes(passes: tuple[Pass, ...]) -> str:
    """What was found, in words, for notes and refusals."""
    named = ", ".join(
        f"{k + 1}: arrival at volume {one.arrival}, peak at {one.peak}, depth {one.depth:.2f}"
        for k, one in enumerate(passes)
    )
    return f"{len(passes)} bolus{'es' if len(passes) > 1 else ''} ({named})"


def smooth_height(curve: NDArray[np.float64], bolus: Bolus, *, time_step: float) -> NDArray[np.float64]:
    """−ln(S/S0) of a mean curve, spikes mended, as a running mean over 3 s. Shape (t,)."""
    height = pass_height(curve, bolus)
    width = max(round(_SMOOTHING / time_step), 1)
    padded = np.pad(height, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")


def pass_height(curve: NDArray[np.float64], bolus: Bolus) -> NDArray[np.float64]:
    """−ln(S/S0) of a mean curve, spikes mended. Shape (t,)."""
    mended = mend_spikes(np.asarray(curve).astype(np.float32), bolus).astype(np.float64)
    level = mended[bolus.baseline].mean()
    return np.asarray(-np.log(np.maximum(mended / level, SIGNAL_FLOOR)))


def further_hollows(
    smooth: NDArray[np.float64], bolus: Bolus, *, time_step: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Peaks of `smooth_height` that lie outside of a first pass, and how far each stands out of its surroundings.

    Returns
    -------
    peaks : ndarray of int, shape (n,)
    prominence : ndarray, shape (n,)
        As −ln(S/S0).
    """
    peaks, found = filters.find_peaks(smooth, prominence=0.0)
    # The first pass begins where the curve last stands at its foot: a bolus before it may have been taken for its
    # arrival.
    foot = np.flatnonzero(smooth[: bolus.peak] < END_FRACTION * smooth[bolus.peak])
    begin = int(foot[-1]) if foot.size else bolus.arrival
    clear = round(_CLEAR_OF_PASS / time_step)
    apart = (peaks < begin) | (peaks > bolus.end + clear)
    apart &= peaks > bolus.n_unsteady
    return peaks[apart], np.asarray(found["prominences"][apart])


def _depth(curve: NDArray[np.float64], bolus: Bolus) -> float:
    return float(pass_height(curve, bolus)[bolus.peak])


def _pass_at(
    curve: NDArray[np.float64], smooth: NDArray[np.float64], peaks: list[int], k: int, *, time_step: float
) -> Pass | None:
    """The `k`-th bolus by itself; None if it is none."""
    stop = _foot(smooth, peaks[k], peaks[k + 1]) + 1 if k + 1 < len(peaks) else curve.size
    choices = [np.arange(stop)]
    if k > 0:
        foot = _foot(smooth, peaks[k - 1], peaks[k])
        before = _pass_at(curve, smooth, peaks, k - 1, time_step=time_step)
        choices = [np.arange(_steady_from(smooth, peaks[k - 1], foot), stop)]
        if before is not None:
            steady = np.asarray(before.volumes)[before.bolus.baseline]
            choices.append(np.concatenate([steady, np.arange(foot, stop)]))
    for volumes in choices:
        try:
            bolus = find_bolus(curve[volumes], time_step=time_step)
        except InputError:
            continue
        if abs(int(volumes[bolus.peak]) - peaks[k]) * time_step <= _SAME_PEAK:
            return Pass(tuple(int(i) for i in volumes), bolus, _depth(curve[volumes], bolus))
    return None


def _foot(smooth: NDArray[np.float64], before: int, peak: int) -> int:
    """Where the rise to `peak` begins: the last point near the valley behind `before`."""
    valley = float(smooth[before:peak].min())
    low = np.flatnonzero(smooth[before:peak] <= valley + _FOOT * (smooth[peak] - valley))
    return before + int(low[-1])


def _steady_from(smooth: NDArray[np.float64], before: int, foot: int) -> int:
    """First point of the steady stretch that ends at `foot`, behind the peak `before`."""
    level = float(np.median(smooth[max(foot - MIN_BASELINE, before + 1) : foot + 1]))
    off = np.flatnonzero(np.abs(smooth[before : foot + 1] - level) > STEADY_TOLERANCE)
    return min(before + int(off[-1]) + 1 if off.size else before + 1, foot)
