"""A voxel's curve as that of tissue without leakage, delayed, dispersed and leaking: linear, one product a voxel.

The model is ``r_voxel(t) = Σ_j a_j · (r ⊗ k_j)(t) + Σ_i b_i · l_i(t)``: r is the mean curve of non-enhancing tissue,
k_j are kernels of unit area (delays, and exponentials behind a delay), l_i are leakage: the integral of r, without and
with back-flow. Kernels of unit area leave the area as it is, hence Σa_j is blood volume relative to the reference for
every delay and transit time that they can make up, where an integral up to the end of the first pass loses what comes
late, and Boxerman's regression takes a long transit time for leakage. The idea of telling leakage from transit time by
a deconvolution is Bjørnerud's (J Cereb Blood Flow Metab 2011;31:2041, doi 10.1038/jcbfm.2011.52); here the reference
is tissue, so that no artery is wanted, and the fit is ridge regression.

How much freedom the kernels and the leakage have against the noise decides what is taken for what. `READINGS` are
several such choices; each is right somewhere (infarcts, leaking rims, weak contrast), and a network that is given all
of them can find out where.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from perfmap.physics.leakage import cumulative_integral

FloatArray = NDArray[np.float64]

DELAYS = (-3.0, -1.5, 1.5, 3.0, 6.0)
"""Delays of the kernels without dispersion, s, beside the reference itself."""
DISPERSED = tuple((delay, tau) for tau in (4.0, 10.0, 20.0) for delay in (0.0, 3.0))
"""Delay and time constant of the exponential kernels, s."""
BACK_FLOW = 1 / 60
"""Rate of the leakage that flows back, 1/s."""
READINGS = {"tight": (0.2, 0.003), "middle": (0.6, 0.02), "leaky": (0.2, 0.2)}
"""Expected size (standard deviation) of the kernels' shares, in units of the reference, and of the leakage, 1/s."""
N_FUNCTIONALS = len(READINGS) + 2


def disperse(curve: ArrayLike, *, time_step: float, tau: float) -> FloatArray:
    """Convolve a curve, linear between its samples, with an exponential of unit area and time constant `tau`, s.

    Exact for any step; the trapezoids of `cumulative_integral` lose area where the step is not short beside `tau`.
    """
    r = np.asarray(curve, dtype=float)
    h = time_step / tau
    keep = np.exp(-h)
    into = (1.0 - keep) / h
    spread = np.zeros_like(r)
    for i in range(1, r.size):
        spread[i] = keep * spread[i - 1] + (into - keep) * r[i - 1] + (1.0 - into) * r[i]
    return spread


def delayed(curve: ArrayLike, *, time_step: float, delay: float) -> FloatArray:
    """The curve `delay` seconds later; its ends are held."""
    r = np.asarray(curve, dtype=float)
    times = np.arange(r.size) * time_step
    return np.interp(times - delay, times, r)


def reference_functionals(
    reference: ArrayLike, *, time_step: float, noise: float, steady: slice
) -> FloatArray:
    """Weights over time whose products with a curve are what the fit finds in it.

    Parameters
    ----------
    reference : array_like, shape (t,)
        −ln(S/S0) of tissue that does not leak.
    time_step : float
        s.
    noise : float
        Standard deviation of a voxel's −ln(S/S0).
    steady : slice
        Volumes that count.

    Returns
    -------
    ndarray, shape (t, N_FUNCTIONALS)
        A column each: blood volume relative to the reference by every one of `READINGS`; by ``middle`` that which
        comes earlier than the reference, as arteries do; by ``leaky`` the leakage term at the end of the series, unit
        of the curves. Rows of volumes that do not count are 0.
    """
    r = np.asarray(reference, dtype=float)
    kernels = [
        r,
        *(delayed(r, time_step=time_step, delay=delay) for delay in DELAYS),
        *(
            delayed(disperse(r, time_step=time_step, tau=tau), time_step=time_step, delay=delay)
            for delay, tau in DISPERSED
        ),
    ]
    leaks = [cumulative_integral(r, time_step=time_step, decay_rate=rate) for rate in (0.0, BACK_FLOW)]
    columns = np.stack([*kernels, *leaks], axis=1)[steady]
    n_leaks = len(leaks)
    is_volume = np.r_[np.ones(len(columns[0]) - n_leaks), np.zeros(n_leaks)]
    is_early = np.r_[0.0, [float(delay < 0) for delay in DELAYS], np.zeros(len(DISPERSED) + n_leaks)]
    at_end = np.r_[np.zeros(len(columns[0]) - n_leaks), [leak[-1] for leak in leaks]]
    product = columns.T @ columns
    least = 1e-9 * np.trace(product) / len(product) * np.eye(len(product))
    found = {}
    for name, (of_kernels, of_leakage) in READINGS.items():
        # The reference itself is free; what departs from it is penalised.
        expected = np.r_[np.inf, np.full(len(kernels) - 1, of_kernels), np.full(n_leaks, of_leakage)]
        solved = np.linalg.solve(product + np.diag((noise / expected) ** 2) + least, columns.T)
        found[name] = solved  # (columns, volumes): coefficients of a curve
    rows = [
        *(is_volume @ found[name] for name in READINGS),
        is_early @ found["middle"],
        at_end @ found["leaky"],
    ]
    weights = np.zeros((r.size, N_FUNCTIONALS))
    weights[steady] = np.stack(rows, axis=1)
    return weights
