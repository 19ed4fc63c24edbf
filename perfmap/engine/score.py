"""Score a map against its reference, by one convention for everyone; see ``docs/metrics.md`` for its reasons."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfmap import metrics
from perfmap.errors import InputError
from perfmap.phantom.priors import LABELS, VESSEL_CLASSES

RANGE_PERCENTILE = 99.5
"""The intensity range R of a case is this percentile of its reference inside the mask."""
EXCLUDED_LABELS = ("csf", *VESSEL_CLASSES)
"""Names of the labels that `nrmse_tissue` leaves out; their numbers are those of the simulator's `LABELS`."""
METRICS = {
    "nrmse_rms": "RMSE / RMS of the reference (Equation 1), inside the mask",
    "nrmse_tissue": "the same without vessels and CSF",
    "nrmse_range": "RMSE / R, inside the mask",
    "psnr": "20·log10(R / RMSE), dB, inside the mask",
    "ssim": "SSIM, mean over the whole slice",
    "ssim_mask": "SSIM, mean inside the mask",
    "mae_symmetric": "2·MAE / R, inside the mask",
    "ccc": "Lin's concordance, all voxels of the case inside the mask",
    "slope": "of prediction over reference, likewise",
    "intercept": "of prediction over reference, likewise",
    "nrmse_range_slice": "RMSE / R over the whole slice, as the paper's table",
    "psnr_slice": "20·log10(R / RMSE) over the whole slice, dB, as the paper's table",
}
"""Key of every figure, with what it is."""


@dataclass(frozen=True)
class CaseScore:
    """Figures of one case.

    Attributes
    ----------
    case : str
        Its name.
    data_range : float
        R, in the map's unit.
    n_slices, n_voxels : int
        Slices that hold mask voxels, and mask voxels, that were scored.
    n_without_reading : int
        Voxels inside the mask where the prediction is not finite. They are scored as 0.
    n_without_truth : int
        Voxels inside the mask where the reference is not finite. They cannot be scored.
    values : dict of str to float
        By the keys of `METRICS`; ``nan`` where a figure does not exist.
    n_slices_without : dict of str to int
        For each figure how many slices have no finite value of it and are left out of its mean: a reference
        of 0 throughout (NRMSE), no error at all (PSNR), or no tissue.
    """

    case: str
    data_range: float
    n_slices: int
    n_voxels: int
    n_without_reading: int
    n_without_truth: int
    values: dict[str, float]
    n_slices_without: dict[str, int]


def score_case(
    case: str,
    prediction: NDArray[Any],
    reference: NDArray[Any],
    *,
    mask: NDArray[np.bool_] | None,
    labels: NDArray[Any] | None,
    data_range: float | None,
) -> CaseScore:
    """Score one map against its reference.

    Parameters
    ----------
    case : str
        Name of the case.
    prediction, reference : ndarray, shape (x, y, z)
        In one unit, on one grid, slices along the last axis. Voxels of the prediction that are not finite
        have no reading and are scored as 0, like those of a map that holds 0 there: leaving hard voxels out
        never pays.
    mask : ndarray of bool, shape (x, y, z), or None
        Voxels to score; outside both maps are set to 0. None: where the reference is finite and not 0, and
        nothing is set to 0.
    labels : ndarray of int, shape (x, y, z), or None
        Numbers of the simulator's `LABELS`. None: there is no `nrmse_tissue`.
    data_range : float or None
        R in the map's unit. None: the 99.5th percentile of the reference inside the mask.

    Returns
    -------
    CaseScore

    Raises
    ------
    InputError
        If the arrays differ in shape, no voxel is left to score, R is not positive, or a slice is smaller
        than the window of SSIM.
    """
    for name, array in (("prediction", prediction), ("mask", mask), ("labels", labels)):
        if array is not None and array.shape != reference.shape:
            raise InputError(
                f"case {case}: {name} has shape {array.shape} and the reference {reference.shape}; resample it"
            )
    has_truth = np.isfinite(reference)
    wanted = reference != 0 if mask is None else mask
    scored = wanted & has_truth
    if not scored.any():
        raise InputError(f"case {case}: no voxel of the reference inside the mask; check mask and reference")
    width = float(np.percentile(reference[scored], RANGE_PERCENTILE)) if data_range is None else data_range
    if not (math.isfinite(width) and width > 0):
        raise InputError(
            f"case {case}: intensity range is {width:g}, wanted a positive one; give --data-range"
        )
    kept = has_truth if mask is None else scored
    slices = np.flatnonzero(scored.any(axis=(0, 1)))
    cropped = np.ix_(*(np.arange(n) for n in scored.shape[:2]), slices)
    inside = scored[cropped]
    maps = [_clipped(array[cropped], kept[cropped], width) for array in (prediction, reference)]
    tissue = None if labels is None else inside & ~np.isin(labels[cropped], _excluded_numbers())
    values, n_without = _values(maps[0], maps[1], inside, tissue, width)
    return CaseScore(
        case=case,
        data_range=width,
        n_slices=len(slices),
        n_voxels=int(np.count_nonzero(scored)),
        n_without_reading=int(np.count_nonzero(scored & ~np.isfinite(prediction))),
        n_without_truth=int(np.count_nonzero(wanted & ~has_truth)),
        values=values,
        n_slices_without=n_without,
    )


def _values(
    prediction: NDArray[np.float64],
    reference: NDArray[np.float64],
    inside: NDArray[np.bool_],
    tissue: NDArray[np.bool_] | None,
    width: float,
) -> tuple[dict[str, float], dict[str, int]]:
    rows = [
        dict(
            _slice_values(
                prediction[..., k],
                reference[..., k],
                inside[..., k],
                None if tissue is None else tissue[..., k],
                width,
            )
        )
        for k in range(inside.shape[2])
    ]
    means = {key: finite_mean([row[key] for row in rows]) for key in rows[0]}
    pair = prediction[inside], reference[inside]
    slope, intercept = metrics.regression(*pair)
    whole = {"ccc": metrics.ccc(*pair), "slope": slope, "intercept": intercept}
    found = {**{key: mean for key, (mean, _) in means.items()}, **whole}
    partly = {key: n for key, (mean, n) in means.items() if n and math.isfinite(mean)}
    return {key: found[key] for key in METRICS}, partly


def _slice_values(
    prediction: NDArray[np.float64],
    reference: NDArray[np.float64],
    inside: NDArray[np.bool_],
    tissue: NDArray[np.bool_] | None,
    width: float,
) -> Iterator[tuple[str, float]]:
    pair = prediction[inside], reference[inside]
    yield "nrmse_rms", metrics.nrmse_rms(*pair)
    has_tissue = tissue is not None and bool(tissue.any())
    yield "nrmse_tissue", metrics.nrmse_rms(prediction[tissue], reference[tissue]) if has_tissue else math.nan
    yield "nrmse_range", metrics.nrmse_range(*pair, data_range=width)
    yield "psnr", metrics.psnr(*pair, data_range=width)
    similarity = metrics.ssim_map(prediction, reference, data_range=width)
    yield "ssim", metrics.mean_ssim(similarity)
    yield "ssim_mask", float(similarity[inside].mean())
    yield "mae_symmetric", metrics.mae_symmetric(*pair, data_range=width)
    yield "nrmse_range_slice", metrics.nrmse_range(prediction, reference, data_range=width)
    yield "psnr_slice", metrics.psnr(prediction, reference, data_range=width)


def _clipped(array: NDArray[Any], kept: NDArray[np.bool_], width: float) -> NDArray[np.float64]:
    values = np.asarray(array, dtype=np.float64)
    return np.where(kept & np.isfinite(values), np.clip(values, 0.0, width), 0.0)


def _excluded_numbers() -> list[int]:
    return [LABELS[name] for name in EXCLUDED_LABELS]


def finite_mean(values: list[float]) -> tuple[float, int]:
    """Mean of the finite values and how many are not; with no finite one, what they are (inf before nan)."""
    finite = [value for value in values if math.isfinite(value)]
    n_left_out = len(values) - len(finite)
    if finite:
        return math.fsum(finite) / len(finite), n_left_out
    return (math.inf if math.inf in values else math.nan), n_left_out
