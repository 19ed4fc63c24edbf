"""Measures of a prepared series that say whether a map of it can be trusted; taken before anything is resampled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perfmap.physics.series_quality import (
    baseline_drift,
    drop_of,
    extinguished_share,
    repeated_volumes,
    second_bolus,
    share_at_ceiling,
    temporal_snr,
    unfinished_pass,
)
from perfmap.preprocess.pipeline import Prepared

_VOXELS = 10_000
"""Brain voxels that are looked at; every n-th, so the same ones each time."""
_THICK = 100.0  # mm; a stack that covers less may lie anywhere in the head


def measure_series(prepared: Prepared) -> dict[str, float]:
    """Measure noise, bolus, and damage of a series.

    Parameters
    ----------
    prepared : Prepared
        Of the series as it was read, not of a registered one: interpolation hides noise and clipped values.

    Returns
    -------
    dict of float
        Keyed as `perfmap.engine.quality_table.THRESHOLDS`.
    """
    bolus, series = prepared.bolus, prepared.series
    signal = _sampled(prepared)  # (n, t)
    steady = signal[:, bolus.baseline]
    ceiling = max(
        float(np.nanmax(series.signal[..., t])) for t in range(*bolus.baseline.indices(bolus.n_times))
    )
    repeated = repeated_volumes(signal)
    spoilt = {i for i in (*repeated, *bolus.spikes) if bolus.window.start <= i < bolus.window.stop}
    earlier, later = second_bolus(prepared.mean_curve, bolus, time_step=series.time_step)
    return {
        "baseline_tsnr": temporal_snr(steady),
        "drop": drop_of(prepared.mean_curve, bolus),
        "baseline_volumes": float(bolus.baseline.stop - bolus.baseline.start),
        "arrival": bolus.arrival * series.time_step,
        "after_peak": (series.n_times - 1 - bolus.peak) * series.time_step,
        "unfinished_pass": unfinished_pass(prepared.mean_curve, bolus),
        "unsteady_volumes": float(bolus.n_unsteady),
        "baseline_drift": baseline_drift(prepared.mean_curve, bolus),
        "earlier_bolus": earlier,
        "later_bolus": later,
        "at_ceiling": share_at_ceiling(steady, ceiling=ceiling),
        "extinguished": extinguished_share(signal[:, bolus.peak], steady.mean(axis=1)),
        "repeated_volumes": float(len(repeated)),
        "spiked_volumes": float(len(bolus.spikes)),
        "spoilt_in_pass": len(spoilt) / (bolus.window.stop - bolus.window.start),
        "grid_covered": float(prepared.time_mapping.valid.mean()),
        "n_slices": float(prepared.mask.any(axis=tuple(a for a in range(3) if a != prepared.axis)).sum()),
        "no_reading": _share_without_reading(prepared),
    }


def brain_size(
    mask: NDArray[np.bool_], *, voxel_size: tuple[float, float, float], axis: int
) -> dict[str, float]:
    """Size of a brain mask: its largest slice in cm², and its volume in ml where the slices cover a whole head.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)
    voxel_size : tuple of float
        mm.
    axis : int
        Slice axis.
    """
    other = tuple(a for a in range(3) if a != axis)
    pixel = voxel_size[other[0]] * voxel_size[other[1]] / 100  # cm²
    size = {"brain_area": float(mask.sum(axis=other).max()) * pixel}
    if mask.shape[axis] * voxel_size[axis] >= _THICK:
        size["brain_volume"] = float(mask.sum()) * float(np.prod(voxel_size)) / 1000
    return size


def _sampled(prepared: Prepared) -> NDArray[np.float32]:
    """Signal of some brain voxels over time. Shape (n, t)."""
    places = np.flatnonzero(prepared.mask.ravel())
    index = np.unravel_index(places[:: max(1, places.size // _VOXELS)], prepared.mask.shape)
    series = prepared.series
    return np.stack([series.signal[..., t][index] for t in range(series.n_times)], axis=1)


def _share_without_reading(prepared: Prepared) -> float:
    """Share of the brain's voxels that have no reading."""
    brain = int((prepared.validity > 0).sum())
    return 1 - int(prepared.mask.sum()) / max(brain, 1)
