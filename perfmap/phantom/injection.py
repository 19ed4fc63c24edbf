"""When things happen: the bolus in a brain-feeding artery, and the slices of a volume."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from perfmap.phantom.protocol import AcquisitionParameters, ArterialParameters
from perfmap.physics import aif

FloatArray = NDArray[np.float64]


def arterial_concentration(time: FloatArray, arterial: ArterialParameters) -> FloatArray:
    """Whole-blood concentration in a brain-feeding artery for dose 1, before dispersion.

    Parameters
    ----------
    time : ndarray, shape (f,)
        Fine grid, s.
    arterial : ArterialParameters
        The bolus.

    Returns
    -------
    ndarray, shape (f,)
        Concentration, mM.
    """
    step = float(time[1] - time[0])
    if arterial.generator == "parker":
        return arterial.area * aif.parker(time, arrival=arterial.arrival)
    if arterial.generator == "gamma-variate":
        first = aif.gamma_variate(time, arrival=arterial.arrival, alpha=arterial.alpha, beta=arterial.beta)
    else:
        first = aif.injected_bolus(
            time,
            arrival=arterial.arrival,
            duration=arterial.injection_duration,
            transit_time=arterial.transit_time,
            n_chambers=arterial.n_chambers,
        )
    return arterial.area * aif.recirculate(
        first,
        time_step=step,
        fraction=arterial.recirculation_fraction,
        delay=arterial.recirculation_delay,
        tau=arterial.recirculation_tau,
        tail=arterial.tail,
    )


def slice_offsets(n_slices: int, acquisition: AcquisitionParameters) -> FloatArray:
    """Moment within a volume at which each slice is excited, s. Shape (z,).

    Slices of one multi-band group are excited together; interleaved means even groups first, then odd ones.
    """
    if acquisition.slice_order == "simultaneous" or n_slices == 1:
        return np.zeros(n_slices)
    n_groups = math.ceil(n_slices / acquisition.multiband)
    groups = np.arange(n_groups)
    if acquisition.slice_order == "interleaved":
        groups = np.concatenate([groups[::2], groups[1::2]])
    rank = np.empty(n_groups)
    rank[groups] = np.arange(n_groups)
    return rank[np.arange(n_slices) % n_groups] * acquisition.repetition_time / n_groups
