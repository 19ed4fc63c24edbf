"""Score folders of maps: which files belong together, and one table of all cases."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from perfmap.engine.pairing import Pair, find_cases, pair_maps, quantity_of_name
from perfmap.engine.score import (
    EXCLUDED_LABELS,
    METRICS,
    RANGE_PERCENTILE,
    CaseScore,
    finite_mean,
    score_case,
)
from perfmap.errors import ConfigError, InputError
from perfmap.io.nifti import read_volume
from perfmap.io.sidecar import read_sidecar
from perfmap.preprocess.slices import slice_axis
from perfmap.quantities import QUANTITIES


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
        return {key: finite_mean(self._column(key))[0] for key in METRICS}

    @property
    def sd(self) -> dict[str, float]:
        """Standard deviation over cases (n − 1); ``nan`` for fewer than two."""
        return {key: _sd(self._column(key)) for key in METRICS}

    def _column(self, key: str) -> list[float]:
        return [case.values[key] for case in self.cases]


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
        If nothing pairs, a file cannot be read, a mask or labels are missing for a case, grids differ, or a prediction
        and its reference say that they are of two quantities.
    ConfigError
        If one mask or label file is given for several cases.
    """
    pairing = pair_maps(prediction, reference, quantity=quantity)
    said = {name: pair.case for pair in pairing.pairs if (name := _common_quantity(pair))}
    if len(said) > 1:
        each = ", ".join(f"case {case} is {name}" for name, case in sorted(said.items()))
        raise InputError(f"{each}; only maps of one quantity make a table, score them apart")
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
    named = next(iter(said), quantity)  # two files may be of another quantity than the one asked for
    return ScoreTable(named, convention, cases, pairing.unpaired_predictions, pairing.unpaired_references)


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


def _common_quantity(pair: Pair) -> str | None:
    """The quantity that the files of a pair say they hold, None where neither says."""
    found, wanted = _quantity_of(pair.prediction), _quantity_of(pair.reference)
    if found and wanted and found != wanted:
        raise InputError(
            f"case {pair.case}: the prediction is {found}, the reference {wanted}; "
            "only maps of one quantity can be compared"
        )
    return found or wanted


def _quantity_of(path: Path) -> str | None:
    """Quantity of a map as its sidecar says, or else the name of a simulated truth; other names are anyone's choice."""
    name = read_sidecar(path).get("Quantity")
    if name is None and path.name.startswith("truth_"):
        name = quantity_of_name(path)
    return name if isinstance(name, str) and name in QUANTITIES else None


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
