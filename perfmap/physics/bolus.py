"""Find the bolus in a signal curve, and turn signal into −ln(S/S0) and its first-pass integral.

The arrival rule has no upper limit on the length of the baseline: codes that cap it (at 12 points, say) cut
the first pass off in protocols with 30–50 baseline volumes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perfmap.errors import InputError

STEADY_TOLERANCE = 0.02
"""A point belongs to the baseline while it stays this close to the running mean (brain-mean curve)."""
WANDER_TOLERANCE = 0.05
"""Farthest a curve may wander from the baseline and still come back to it: a single voxel's tolerance."""
MIN_BASELINE = 3
"""Fewest steady points before the bolus."""
MIN_TIMES = 10
"""Fewest volumes in which a bolus is looked for."""
MIN_DROP = 0.05
"""Smallest drop of the brain mean, as a part of the baseline, that counts as a bolus."""
MIN_DROP_SD = 5.0
"""Smallest drop in standard deviations of the baseline."""
END_FRACTION = 0.2
"""The first pass ends where the brain-mean curve first returns below this part of its peak …"""
MAX_PASS_DURATION = 35.0
"""… or this many seconds after the arrival, whichever is first."""
SIGNAL_FLOOR = 0.01
"""S/S0 is not let below this, so that an extinguished voxel stays finite: −ln of it is 4.6."""

_UNSTEADY_TOLERANCE = (0.003, 0.015)  # without noise, and at most
_SEARCH_WIDTH = 8.0  # s; the bolus is the deepest hollow of this width, so that lone spikes lose against it
_MAX_UNSTEADY = 8
_LOCAL_POINTS = 5


@dataclass(frozen=True)
class Bolus:
    """Where a series is steady, and where its first pass lies. All numbers are volume indices.

    Attributes
    ----------
    n_unsteady : int
        First volumes left out, not yet in steady state.
    arrival : int
        Last point of the baseline: one before the last point that is still within the tolerance.
    peak : int
        Volume of the lowest signal of the first pass.
    end : int
        End of the first-pass window, exclusive.
    n_times : int
        Number of volumes in the series.
    spikes : tuple of int
        Single volumes that jump out of their neighbours, wherever in the series, but not beside the peak.
        `baseline_signal` leaves them out, `mend_spikes` fills them in.
    """

    n_unsteady: int
    arrival: int
    peak: int
    end: int
    n_times: int
    spikes: tuple[int, ...] = ()

    @property
    def baseline(self) -> slice:
        """Steady baseline volumes; at least three."""
        return slice(self.n_unsteady, self.arrival + 1)

    @property
    def window(self) -> slice:
        """First-pass window, from one volume before `arrival`."""
        return slice(max(self.arrival - 1, 0), self.end)


def find_bolus(curve: ArrayLike, *, time_step: float) -> Bolus:
    """Find steady baseline, arrival, peak and end of the first pass.

    After the unsteady first volumes the baseline grows from three points while the next one stays within
    2 % of the running mean; the arrival is one before the last such point. Four additions make the rule
    hold on noisy curves: a lone spike before the peak neither ends the baseline nor counts in it; the 2 %
    widen to three noise standard deviations (at most 5 %) where the curve is noisier than that; a point
    within half the tolerance of the last five baseline points belongs too (slow drift); and a curve that
    wanders out of the 2 % but not out of 5 % and comes back before the bolus (pulsation) is still baseline.

    Parameters
    ----------
    curve : array_like, shape (t,)
        Brain-mean signal, arbitrary unit.
    time_step : float
        Interval between two volumes, s.

    Returns
    -------
    Bolus

    Raises
    ------
    InputError
        ``no bolus found``: too few or invalid points, fewer than three steady points before the drop, or a
        drop below 5 % or below five standard deviations of the baseline.
    """
    raw = np.asarray(curve, dtype=float)
    _check_curve(raw)
    peak = _find_peak(raw, time_step)
    clean, spikes = _without_spikes(raw, peak)
    noise = _relative_noise(clean[: peak + 1])
    n_unsteady = _count_unsteady(clean, peak, noise)
    last = _last_steady_point(clean, n_unsteady, peak, noise)
    while last < n_unsteady and n_unsteady > 0:  # too few points are left: give up the least unsteady ones
        n_unsteady -= 1
        last = _last_steady_point(clean, n_unsteady, peak, noise)
    if last - n_unsteady + 1 < MIN_BASELINE:
        raise InputError(
            f"no bolus found: the signal is lowest at volume {peak} with {max(last - n_unsteady + 1, 0)} "
            f"steady volumes before it, wanted at least {MIN_BASELINE}; give the whole series, from before "
            "the injection"
        )
    arrival = max(last - 1, n_unsteady + MIN_BASELINE - 1)
    steady = clean[n_unsteady : arrival + 1]
    level, spread = float(steady.mean()), float(steady.std(ddof=1))
    drop = level - float(clean[peak])
    if drop < MIN_DROP * level or drop < MIN_DROP_SD * spread:
        raise InputError(
            f"no bolus found: the largest drop of the mean signal is {100 * drop / level:.1f} % of the "
            f"baseline ({drop / max(spread, 1e-12 * level):.1f} SD), wanted at least {100 * MIN_DROP:.0f} % "
            f"and {MIN_DROP_SD:.0f} SD; check that this is a contrast series and that the mask covers brain"
        )
    end = _first_pass_end(clean / level, arrival, peak, time_step)
    return Bolus(n_unsteady, arrival, peak, end, raw.size, tuple(i for i in spikes if i >= n_unsteady))


def baseline_signal(signal: NDArray[np.floating], bolus: Bolus) -> NDArray[np.float32]:
    """Mean signal over the steady baseline, spikes left out.

    Parameters
    ----------
    signal : ndarray, shape (..., t)
        Signal, arbitrary unit.
    bolus : Bolus
        From `find_bolus`.

    Returns
    -------
    ndarray, float32, shape (...)
    """
    indices = [i for i in range(bolus.n_unsteady, bolus.arrival + 1) if i not in bolus.spikes]
    part = signal[..., indices] if bolus.spikes else signal[..., bolus.baseline]
    return np.asarray(part.mean(axis=-1, dtype=np.float64), dtype=np.float32)


def log_ratio(signal: NDArray[np.floating], bolus: Bolus) -> NDArray[np.float32]:
    """−ln(S/S0), which is TE·ΔR2*. Never clipped at S = S0: T1 enhancement stays visible as negative values.

    Parameters
    ----------
    signal : ndarray, shape (..., t)
        Signal, arbitrary unit; the result does not change when it is multiplied by a positive factor.
    bolus : Bolus
        From `find_bolus`.

    Returns
    -------
    ndarray, float32, shape (..., t)
        Pure number; 0 where the baseline is not positive. S is not let below 1 % of S0.
    """
    baseline = baseline_signal(signal, bolus)[..., np.newaxis]
    valid = baseline > 0
    ratio = np.divide(signal, np.where(valid, baseline, 1), dtype=np.float32)
    np.maximum(ratio, np.float32(SIGNAL_FLOOR), out=ratio)
    np.log(ratio, out=ratio)
    np.negative(ratio, out=ratio)
    if not valid.all():
        np.copyto(ratio, 0, where=~valid)
    return np.asarray(ratio)


def notes_of_spikes(bolus: Bolus) -> list[str]:
    """What a reader must know of volumes that `mend_spikes` fills in; empty where there is none."""
    if not bolus.spikes:
        return []
    volumes = ", ".join(str(volume) for volume in bolus.spikes)
    return [
        f"volumes that jump out of their neighbours were filled in: {volumes} of those read, counted from 0"
    ]


def mend_spikes(curves: NDArray[np.float32], bolus: Bolus) -> NDArray[np.float32]:
    """Fill volumes that jump out (spikes, dropped volumes) by a straight line between their neighbours.

    Parameters
    ----------
    curves : ndarray, shape (..., t)
        Signal, −ln(S/S0) or ΔR2*.
    bolus : Bolus
        From `find_bolus`.

    Returns
    -------
    ndarray, shape (..., t)
        A new array, or the one given where there is nothing to mend.
    """
    if not bolus.spikes:
        return curves
    sound = np.setdiff1d(np.arange(bolus.n_times), bolus.spikes)
    mended = curves.copy()
    for spike in bolus.spikes:
        after = int(np.searchsorted(sound, spike))
        right = sound[min(after, sound.size - 1)]
        left = sound[max(after - 1, 0)] if after else right
        part = (spike - left) / (right - left) if right > left else 0.0
        mended[..., spike] = (1 - part) * curves[..., left] + part * curves[..., right]
    return mended


def first_pass_integral(
    log_ratio: NDArray[np.floating], bolus: Bolus, *, time_step: float
) -> NDArray[np.float32]:
    """Trapezoid integral over the first-pass window.

    Parameters
    ----------
    log_ratio : ndarray, shape (..., t)
        −ln(S/S0), or ΔR2* in 1/s.
    bolus : Bolus
        From `find_bolus`.
    time_step : float
        Interval between two volumes, s.

    Returns
    -------
    ndarray, float32, shape (...)
        Integral in (unit of the input)·s; the echo time is not divided out.
    """
    part = log_ratio[..., bolus.window]
    total = part.sum(axis=-1) - 0.5 * (part[..., 0] + part[..., -1])
    return np.asarray(total * time_step, dtype=np.float32)


def _check_curve(curve: NDArray[np.float64]) -> None:
    if curve.ndim != 1 or curve.size < MIN_TIMES:
        raise InputError(
            f"no bolus found: the curve has shape {curve.shape}, wanted one axis of at least {MIN_TIMES} "
            "volumes; give the whole 4D series"
        )
    if not np.isfinite(curve).all():
        bad = int(np.argmin(np.isfinite(curve)))
        raise InputError(
            f"no bolus found: the mean signal of volume {bad} is not finite; mend or drop that volume"
        )
    if curve.max() <= 0 or np.median(curve) <= 0:
        raise InputError("no bolus found: the mean signal is not positive; check the mask and the scaling")


def _running_median(curve: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Median filter; the start is repeated (it decays), the end mirrored (a spike may stand there)."""
    padded = np.pad(np.pad(curve, (width // 2, 0), mode="edge"), (0, width // 2), mode="reflect")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=-1)


def _find_peak(curve: NDArray[np.float64], time_step: float) -> int:
    """Lowest point inside the deepest hollow of about 8 s. Lone spikes are narrower than that."""
    smooth = _running_median(curve, 3)
    width = max(2 * round(_SEARCH_WIDTH / time_step / 2) + 1, 3)
    padded = np.pad(smooth, width // 2, mode="edge")
    hollow = int(np.argmin(np.convolve(padded, np.full(width, 1 / width), mode="valid")))
    first = max(hollow - width // 2, 0)
    near = slice(first, hollow + width // 2 + 1)
    # The median flattens a sharp bolus: among its lowest points take the one where the raw curve is lowest.
    lowest = smooth[near].min()
    depth = max(float(np.median(curve)) - lowest, 0.0)
    candidate = np.where(smooth[near] <= lowest + 0.25 * depth, curve[near], np.inf)
    return first + int(np.argmin(candidate))


def _without_spikes(curve: NDArray[np.float64], peak: int) -> tuple[NDArray[np.float64], list[int]]:
    """Replace points that jump out of their five neighbours, except around the peak.

    A point of a monotone stretch is its own median, so the decay of the first volumes and the descent of the
    bolus are never touched.
    """
    median = _running_median(curve, 5)
    jump = np.abs(curve - median)
    scale = float(np.median(curve))
    limit = max(1.5 * STEADY_TOLERANCE * scale, 6 * 1.4826 * float(np.median(jump)))
    found = [int(i) for i in np.flatnonzero(jump > limit) if abs(int(i) - peak) > 1]
    clean = curve.copy()
    clean[found] = median[found]
    return clean, found


def _relative_noise(curve: NDArray[np.float64]) -> float:
    """Robust noise before the descent, as a part of the level: each point against its neighbours."""
    level = float(np.median(curve))
    descent = np.flatnonzero(curve < level - 0.2 * (level - float(curve.min())))
    before = curve[: descent[0]] if descent.size else curve
    if before.size < 5:
        return 0.0
    residual = before[1:-1] - 0.5 * (before[:-2] + before[2:])
    return float(1.4826 * np.median(np.abs(residual)) / np.sqrt(1.5) / level)


def _count_unsteady(curve: NDArray[np.float64], peak: int, noise: float) -> int:
    """Leading volumes that stand off the median of the three that follow them."""
    tolerance = float(np.clip(2.5 * noise, *_UNSTEADY_TOLERANCE))
    for k in range(min(_MAX_UNSTEADY, peak - MIN_BASELINE)):
        reference = float(np.median(curve[k + 1 : k + 4]))
        if abs(curve[k] - reference) <= tolerance * abs(reference):
            return k
    return max(min(_MAX_UNSTEADY, peak - MIN_BASELINE), 0)


def _last_steady_point(curve: NDArray[np.float64], first: int, peak: int, noise: float) -> int:
    """Grow the baseline from `first`; return the last point that belongs to it (`first` − 1 if none does)."""
    tolerance = min(max(STEADY_TOLERANCE, 3 * noise), WANDER_TOLERANCE)
    if peak - first < MIN_BASELINE:
        return first - 1
    seed = curve[first : first + MIN_BASELINE]
    if np.abs(seed / seed.mean() - 1).max() > WANDER_TOLERANCE:
        return first - 1
    steady, last = list(range(first, first + MIN_BASELINE)), first + MIN_BASELINE - 1
    for i in range(last + 1, peak):
        offset = abs(curve[i] / curve[steady].mean() - 1)
        local = abs(curve[i] / curve[steady[-_LOCAL_POINTS:]].mean() - 1)
        if offset <= tolerance or local <= 0.5 * tolerance:
            steady.append(i)
            last = i
        elif offset > WANDER_TOLERANCE:
            break
    return last


def _first_pass_end(relative: NDArray[np.float64], arrival: int, peak: int, time_step: float) -> int:
    """Exclusive end: the first return below 20 % of the peak after it, included, or arrival + 35 s."""
    height = -np.log(np.maximum(relative, SIGNAL_FLOOR))
    back = np.flatnonzero(height[peak:] < END_FRACTION * height[peak])
    returned = peak + int(back[0]) if back.size else relative.size - 1
    limit = max(arrival + round(MAX_PASS_DURATION / time_step), peak + 1)
    return min(returned, limit, relative.size - 1) + 1
