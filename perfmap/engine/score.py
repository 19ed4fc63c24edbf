"""Score maps against their references, by one convention for everyone.

The convention, and its reasons, stand in ``docs/metrics.md``; `ScoreTable.convention` says it in words for
the table at hand.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perfmap import metrics
from perfmap.engine.pairing import Pair, find_cases, pair_maps
from perfmap.errors import ConfigError, InputError
from perfmap.io.nifti import read_volume
from perfmap.phantom.priors import LABELS, VESSEL_CLASSES
from perfmap.preprocess.slices import slice_axis

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


@dataclass(frozen=True)
class ScoreTable:
    """Figures of all cases: what `score_files` found, with the convention it was found by."""

    quantity: str
    convention: tuple[str, ...]
    cases: tuple[CaseScore, ...]
    unpaired_predictions: tuple[Path, ...]
    unpaired_references: tuple[Path, ...]

    @property
    def mean(self) -> dict[str, float]:
        """Mean over the cases that have the figure."""
        return {key: _finite_mean(self._column(key))[0] for key in METRICS}

    @property
    def sd(self) -> dict[str, float]:
        """Standard deviation over cases (n − 1); ``nan`` for fewer than two."""
        return {key: _sd(self._column(key)) for key in METRICS}

    def _column(self, key: str) -> list[float]:
        return [case.values[key] for case in self.cases]


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


def score_files(
    prediction: Path,
    reference: Path,
    *,
    quantity: str,
    mask: Path | None = None,
    labels: Path | None = None,
    data_range: float | None = None,
) -> ScoreTable:
    """Pair the maps of two files or folders, and score every pair.

    Parameters
    ----------
    prediction, reference : Path
        Files or folders; see `perfmap.engine.pairing.pair_maps`.
    quantity : str
        Identifier from `perfmap.quantities`.
    mask, labels : Path or None
        A file (one case only) or a folder paired in the same way. None: ``truth_mask`` and ``truth_labels``
        beside the reference, as the simulator writes them, where they exist.
    data_range : float or None
        R for all cases; None for each case its own.

    Returns
    -------
    ScoreTable

    Raises
    ------
    InputError
        If nothing pairs, a file cannot be read, a mask or labels are missing for a case, or grids differ.
    ConfigError
        If one mask or label file is given for several cases.
    """
    pairing = pair_maps(prediction, reference, quantity=quantity)
    masks = _companions("mask", mask, pairing.pairs)
    label_maps = _companions("labels", labels, pairing.pairs)
    cases = tuple(
        _score_pair(pair, masks.get(pair.case), label_maps.get(pair.case), data_range=data_range)
        for pair in pairing.pairs
    )
    n_cases = len(cases)
    convention = (
        _say_range(data_range),
        _say_mask(mask, n_given=len(masks), n_cases=n_cases),
        "NRMSE, PSNR, MAE: inside the mask. SSIM: 2D, window 7 × 7, whole slice, and its mean inside the mask",
        _say_tissue(labels, n_given=len(label_maps), n_cases=n_cases),
        "Voxels inside the mask without reading (NaN) are scored as 0",
        "Mean over slices, then over cases, ± SD of the cases",
    )
    return ScoreTable(quantity, convention, cases, pairing.unpaired_predictions, pairing.unpaired_references)


def table_as_dict(table: ScoreTable) -> dict[str, Any]:
    """Everything in a table as plain data for JSON."""
    return {
        "format": 1,
        "quantity": table.quantity,
        "convention": list(table.convention),
        "metrics": METRICS,
        "mean": table.mean,
        "sd": table.sd,
        "cases": [_case_as_dict(case) for case in table.cases],
        "unpaired_predictions": [str(path) for path in table.unpaired_predictions],
        "unpaired_references": [str(path) for path in table.unpaired_references],
    }


def table_as_csv(table: ScoreTable) -> str:
    """One row a case; empty where a figure does not exist."""
    counts = ("data_range", "n_slices", "n_voxels", "n_without_reading", "n_without_truth")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", *METRICS, *counts])
    for case in table.cases:
        row = [*(case.values[key] for key in METRICS), *(getattr(case, name) for name in counts)]
        writer.writerow([case.case, *("" if value != value else value for value in row)])
    return text.getvalue()


def _case_as_dict(case: CaseScore) -> dict[str, Any]:
    plain = asdict(case)
    return {**plain.pop("values"), **plain}


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
    means = {key: _finite_mean([row[key] for row in rows]) for key in rows[0]}
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


def _finite_mean(values: list[float]) -> tuple[float, int]:
    """Mean of the finite values and how many are not; with no finite one, what they are (inf before nan)."""
    finite = [value for value in values if math.isfinite(value)]
    n_left_out = len(values) - len(finite)
    if finite:
        return math.fsum(finite) / len(finite), n_left_out
    return (math.inf if math.inf in values else math.nan), n_left_out


def _sd(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan


def _companions(
    role: Literal["mask", "labels"], given: Path | None, pairs: tuple[Pair, ...]
) -> dict[str, Path]:
    """Mask or label file of each case: the given ones, else what a simulator folder holds beside the truth."""
    if given is None:
        beside = ((pair.case, _beside_truth(pair.reference, role)) for pair in pairs)
        return {case: path for case, path in beside if path is not None}
    if given.is_file():
        if len(pairs) > 1:
            raise ConfigError(
                f"one {role} file {given} for {len(pairs)} cases; give a folder with one for each"
            )
        return {pairs[0].case: given}
    found = find_cases(given, role=role, kind=role)
    missing = [pair.case for pair in pairs if pair.key not in found]
    if missing:
        raise InputError(
            f"no {role} in {given} for case {', '.join(missing[:5])}; add it or leave --{role} out"
        )
    return {pair.case: found[pair.key] for pair in pairs}


def _beside_truth(reference: Path, role: str) -> Path | None:
    if not reference.name.startswith("truth_"):
        return None
    candidates = (reference.with_name(f"truth_{role}{suffix}") for suffix in (".nii.gz", ".nii"))
    return next((path for path in candidates if path.is_file()), None)


def _score_pair(pair: Pair, mask: Path | None, labels: Path | None, *, data_range: float | None) -> CaseScore:
    reference = read_volume(pair.reference)

    axis = slice_axis(reference.affine)

    def array_of(path: Path) -> NDArray[Any]:
        return np.moveaxis(read_volume(path, like=reference).array, axis, 2)

    return score_case(
        pair.case,
        array_of(pair.prediction),
        np.moveaxis(reference.array, axis, 2),
        mask=None if mask is None else array_of(mask) > 0,
        labels=None if labels is None else array_of(labels),
        data_range=data_range,
    )


def _say_range(data_range: float | None) -> str:
    if data_range is None:
        width = f"{RANGE_PERCENTILE}th percentile of the reference inside the mask, one number a case"
    else:
        width = f"{data_range:g} for every case (--data-range)"
    return f"R: {width}; both maps clipped to [0, R]"


def _say_mask(given: Path | None, *, n_given: int, n_cases: int) -> str:
    unmasked = "where the reference is not 0"
    if n_given == 0:
        return f"Mask: {unmasked} (none was given)"
    source = "truth_mask beside the reference" if given is None else str(given)
    rest = "" if n_given == n_cases else f" for {n_given} of {n_cases} cases, else {unmasked}"
    return f"Mask: {source}{rest}; outside it both maps are set to 0"


def _say_tissue(given: Path | None, *, n_given: int, n_cases: int) -> str:
    if n_given == 0:
        return "Tissue: no labels, so no NRMSE without vessels and CSF"
    source = "truth_labels beside the reference" if given is None else str(given)
    rest = "" if n_given == n_cases else f" for {n_given} of {n_cases} cases"
    return f"Tissue: NRMSE (Equation 1) without {', '.join(EXCLUDED_LABELS)}; labels: {source}{rest}"
