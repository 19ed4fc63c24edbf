"""Contrast-agent leakage: the Boxerman–Schmainda–Weisskoff correction and its bidirectional form.

The model regresses a voxel on a curve of *non-enhancing tissue*: regression on the voxel's own curve, or on
the arterial input, is a different and wrong model. Only the leakage term is taken away; K1·r is perfusion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perfmap.errors import InputError
from perfmap.physics.bolus import Bolus

ReferenceRule = Literal["balanced", "baseline"]
N_LATE = 10
"""Number of last points whose mean tells whether a voxel enhances."""
BALANCED_WIDTH = 1.5
"""Half width of the accepted late means, in robust standard deviations."""
MIN_QUALIFIED = 0.05
"""Below this part of the voxels the rule ``baseline`` turns to its ranking."""
FALLBACK_PART = 0.2
"""Part of the perfused voxels that the ranking keeps."""
KEP_GRID = (0.0, 0.0005, 0.001, 0.002, 0.0035, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05)
"""Back-flow rates tried by `fit_bidirectional`, 1/s (0 to 3 per minute)."""


@dataclass(frozen=True)
class LeakageFit:
    """Result of a leakage fit.

    Attributes
    ----------
    k1 : ndarray, shape (...)
        Perfusion relative to the reference, pure number.
    k2 : ndarray, shape (...)
        Leakage coefficient, 1/s; positive where T1 leakage dominates, negative where T2* leakage does.
    kep : ndarray, shape (...)
        Back-flow rate, 1/s; 0 everywhere in the unidirectional model.
    corrected : ndarray, shape (..., t)
        The curve with its leakage term taken away, unit of the input.
    """

    k1: NDArray[np.float64]
    k2: NDArray[np.float64]
    kep: NDArray[np.float64]
    corrected: NDArray[np.float64]


def cumulative_integral(
    curve: ArrayLike, *, time_step: float, decay_rate: float = 0.0
) -> NDArray[np.float64]:
    """∫₀ᵗ r(u)·e^{−k(t−u)} du by trapezoids; the plain cumulative integral for k = 0.

    Parameters
    ----------
    curve : array_like, shape (t,)
        r.
    time_step : float
        Interval between samples, s.
    decay_rate : float
        k, 1/s.

    Returns
    -------
    ndarray, float64, shape (t,)
        Unit of the input · s; first value 0.
    """
    r = np.asarray(curve, dtype=float)
    keep = float(np.exp(-decay_rate * time_step))
    total = np.zeros_like(r)
    for i in range(1, r.size):
        total[i] = keep * total[i - 1] + 0.5 * time_step * (keep * r[i - 1] + r[i])
    return total


def non_enhancing(
    delta_r2star: NDArray[np.floating], bolus: Bolus, *, rule: ReferenceRule = "balanced"
) -> NDArray[np.bool_]:
    """Voxels that show a bolus and then behave as tissue without leakage.

    Late in the series even tissue without leakage lies above its baseline, by the agent that recirculates.
    The rule ``balanced`` takes the ratio of late mean to first-pass mean, the same in all tissue that does not
    leak, and keeps the voxels within 1.5 (robust) standard deviations of its median over the brain: leakage of
    either sign is left out alike, and noise does not favour low values.

    The rule ``baseline`` is the one in common use: the late mean lies within one standard deviation of the
    voxel's baseline; if fewer than 5 % qualify, the 20 % with the smallest |late mean|/SD are taken. It favours
    voxels whose T1 leakage just cancels the recirculation, and noise that happens to be low: where 30 % of the
    voxels leak and the tail is 12 % of the peak, volumes of leak-free tissue come out 7 to 8 % too low.

    Voxels without a bolus (CSF, air) are left out by both.

    Parameters
    ----------
    delta_r2star : ndarray, shape (n, t)
        ΔR2*, 1/s, or −ln(S/S0), of the voxels inside the brain mask.
    bolus : Bolus
        From `perfmap.physics.bolus.find_bolus`.
    rule : str
        ``"balanced"`` or ``"baseline"``.

    Returns
    -------
    ndarray, bool, shape (n,)

    Raises
    ------
    InputError
        If no voxel shows a bolus.
    """
    spread = delta_r2star[:, bolus.baseline].std(axis=1, ddof=1)
    late = delta_r2star[:, -N_LATE:].mean(axis=1)
    height = delta_r2star[:, bolus.window].mean(axis=1)
    n_passing = bolus.window.stop - bolus.window.start
    perfused = (height > 3 * spread / np.sqrt(n_passing)) & (height > 0.1 * np.median(height))
    if not perfused.any():
        raise InputError(
            f"no leakage reference: none of {len(delta_r2star)} voxels in the mask shows a bolus, wanted "
            "some non-enhancing tissue; check the mask, or choose --method firstpass"
        )
    if rule == "balanced":
        ratio = np.where(perfused, late / np.where(perfused, height, 1), 0)
        middle = np.median(ratio[perfused])
        width = 1.4826 * np.median(np.abs(ratio[perfused] - middle))
        return np.asarray(perfused & (np.abs(ratio - middle) <= BALANCED_WIDTH * width + 1e-6 * abs(middle)))
    strict = perfused & (np.abs(late) <= spread)
    if strict.sum() >= MIN_QUALIFIED * len(delta_r2star):
        return np.asarray(strict)
    rank = np.full(len(delta_r2star), np.inf)
    rank[perfused] = np.abs(late[perfused]) / np.maximum(spread[perfused], 1e-9 * height[perfused])
    chosen = np.zeros(len(delta_r2star), dtype=bool)
    chosen[np.argsort(rank, kind="stable")[: max(int(FALLBACK_PART * perfused.sum()), 1)]] = True
    return chosen


def fit_bsw(
    delta_r2star: NDArray[np.floating], reference: ArrayLike, *, time_step: float, window: slice | None = None
) -> LeakageFit:
    """Boxerman–Schmainda–Weisskoff: ΔR2*(t) ≈ K1·r(t) − K2·∫₀ᵗ r, linear least squares for each voxel.

    Boxerman, Schmainda, Weisskoff, AJNR 27:859–867, 2006.

    Parameters
    ----------
    delta_r2star : ndarray, shape (..., t)
        ΔR2*, 1/s (or −ln(S/S0): K1 and K2 do not depend on the factor).
    reference : array_like, shape (t,)
        r, mean curve of non-enhancing tissue, in the same unit.
    time_step : float
        Interval between volumes, s.
    window : slice, optional
        Volumes that enter the fit; all by default. The correction itself always covers the whole curve.

    Returns
    -------
    LeakageFit

    Raises
    ------
    InputError
        If the reference is flat, so that K1 and K2 cannot be told apart.
    """
    return fit_bidirectional(delta_r2star, reference, time_step=time_step, window=window, kep_grid=(0.0,))


def bsw_k2(
    delta_r2star: NDArray[np.floating], reference: ArrayLike, *, time_step: float, window: slice | None = None
) -> NDArray[np.float64]:
    """K2 of `fit_bsw` alone, in one product: for those who need no corrected curves.

    Parameters
    ----------
    delta_r2star, reference, time_step, window
        As in `fit_bsw`; the reference is not flat.

    Returns
    -------
    ndarray, float64, shape (...)
        1/s.
    """
    r = np.asarray(reference, dtype=float)
    used = slice(None) if window is None else window
    design = np.stack([r, -cumulative_integral(r, time_step=time_step)], axis=1)[used]
    weights = np.linalg.solve(design.T @ design, design.T)[1]  # (t,)
    return np.asarray(delta_r2star[..., used] @ weights)


def fit_bidirectional(
    delta_r2star: NDArray[np.floating],
    reference: ArrayLike,
    *,
    time_step: float,
    window: slice | None = None,
    kep_grid: tuple[float, ...] = KEP_GRID,
) -> LeakageFit:
    """Leakage with back-flow: ΔR2*(t) ≈ K1·r(t) − K2·∫₀ᵗ r(u)·e^{−kep(t−u)} du.

    For each back-flow rate of the grid K1 and K2 are linear; each voxel keeps the rate of least residual.
    doi 10.1002/jmri.25227 (Leu et al., JMRI 2016).

    Parameters
    ----------
    delta_r2star, reference, time_step, window
        As in `fit_bsw`.
    kep_grid : tuple of float
        Back-flow rates to try, 1/s.

    Returns
    -------
    LeakageFit

    Raises
    ------
    InputError
        If the reference is flat.
    """
    data = np.asarray(delta_r2star, dtype=float)
    r = np.asarray(reference, dtype=float)
    used = slice(None) if window is None else window
    shape = data.shape[:-1]
    flat = data.reshape(-1, data.shape[-1])
    best = np.full(len(flat), -np.inf)
    k1, k2, index = np.zeros(len(flat)), np.zeros(len(flat)), np.zeros(len(flat), dtype=int)
    leaks = np.stack([cumulative_integral(r, time_step=time_step, decay_rate=kep) for kep in kep_grid])
    for number, leak in enumerate(leaks):
        design = np.stack([r[used], -leak[used]], axis=1)
        gram = design.T @ design
        if np.linalg.matrix_rank(design) < 2:
            raise InputError(
                "no leakage fit: the mean curve of the non-enhancing voxels is flat, wanted one with a "
                "bolus; check the mask, or choose --method firstpass"
            )
        moment = flat[:, used] @ design
        solution = np.linalg.solve(gram, moment.T).T
        explained = np.einsum("ij,ij->i", solution, moment)
        better = explained > best
        best[better], index[better] = explained[better], number
        k1[better], k2[better] = solution[better, 0], solution[better, 1]
    corrected = flat + k2[:, np.newaxis] * leaks[index]
    kep = np.asarray(kep_grid)[index]
    return LeakageFit(k1.reshape(shape), k2.reshape(shape), kep.reshape(shape), corrected.reshape(data.shape))


def dual_echo_delta_r2star(
    first_ratio: NDArray[np.floating],
    second_ratio: NDArray[np.floating],
    *,
    first_echo_time: float,
    second_echo_time: float,
) -> NDArray[np.float64]:
    """ΔR2* from two echoes, in which every T1 effect cancels.

    Parameters
    ----------
    first_ratio, second_ratio : ndarray, shape (..., t)
        −ln(S/S0) of the two echoes.
    first_echo_time, second_echo_time : float
        Echo times, s.

    Returns
    -------
    ndarray, float64, shape (..., t)
        ΔR2*, 1/s.

    Raises
    ------
    InputError
        If the second echo is not later than the first.
    """
    if not second_echo_time > first_echo_time > 0:
        raise InputError(
            f"echo times are {first_echo_time} s and {second_echo_time} s, wanted two positive ones with the "
            "later one second; swap the files or give the times"
        )
    difference = np.asarray(second_ratio, dtype=float) - np.asarray(first_ratio, dtype=float)
    return np.asarray(difference / (second_echo_time - first_echo_time))
