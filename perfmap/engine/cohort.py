"""Write the simulated cohort of the paper: per patient seven slices of 128 × 128 and two reference maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfmap.engine.simulate import NOTE, PlannedCase, simulate_cases
from perfmap.errors import ConfigError, InputError
from perfmap.io.patient_file import SUFFIX, read_record, write_patient
from perfmap.io.sidecar import json_text, write_json
from perfmap.phantom.case import CaseParameters, SimulatedCase, series_of, simulate_case
from perfmap.phantom.cohort import PAPER_MATRIX, PAPER_PARTS, PAPER_PATIENTS, PAPER_SLICES, draw_patient
from perfmap.physics.captk import captk_maps

CARD_FILE = "cohort.json"
KEPT = ("nrcbv", "labels", "mask", "nawm")
"""Truth maps that a patient keeps beside ap-rCBV."""
TARGETS = ("nrcbv", "ap_rcbv")


@dataclass(frozen=True)
class PatientCase:
    """A patient of the cohort, drawn from the cohort's seed and its number alone."""

    name: str
    seed: int
    number: int

    def parameters(self) -> CaseParameters:
        """Draw the patient."""
        return draw_patient(self.seed, self.number)

    def simulate(self, case: CaseParameters) -> SimulatedCase:
        """Make the seven slices and both reference maps."""
        return paper_patient(case)


def plan_paper_cohort(*, seed: int, n: int = PAPER_PATIENTS) -> list[PatientCase]:
    """List the patients of the cohort.

    Parameters
    ----------
    seed : int
        Seed of the cohort.
    n : int
        Patients; fewer are the first ones of the whole cohort.
    """
    return [PatientCase(f"patient-{number:04d}", seed, number) for number in range(n)]


def simulate_paper_cohort(
    output: Path,
    *,
    seed: int,
    n: int = PAPER_PATIENTS,
    jobs: int = 1,
    overwrite: bool = False,
    as_nifti: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write the cohort and, when all patients are there, its card. `perfmap train` reads either layout.

    Parameters
    ----------
    output : Path
        Folder; a patient is ``OUT/patient-<number>.npz``, see `perfmap.io.patient_file`.
    seed, n : int
        As in `plan_paper_cohort`.
    as_nifti : bool
        A patient is a folder ``OUT/patient-<number>/`` instead, with ``dsc.nii.gz``, ``truth_nrcbv`` and
        ``truth_ap_rcbv``, for viewers and for `perfmap predict`.
    jobs, overwrite, progress
        As in `perfmap.engine.simulate.simulate_cases`.

    Returns
    -------
    list of Path
        Files or folders of the patients.
    """
    made = simulate_cases(
        output,
        plan_paper_cohort(seed=seed, n=n),
        jobs=jobs,
        overwrite=overwrite,
        progress=progress,
        make=None if as_nifti else make_patient_file,
    )
    write_json(cohort_card(seed=seed, n=n), output / CARD_FILE, overwrite=True)
    return made


def make_patient_file(place: Path, planned: PlannedCase, /, *, overwrite: bool = False) -> Path:
    """Simulate one patient into one file, unless it is there already.

    Raises
    ------
    ConfigError
        If the file holds another patient and `overwrite` is False.
    """
    path = place.with_name(place.name + SUFFIX)
    case = planned.parameters()
    record = json_text(case.model_dump(mode="json"))
    if path.is_file() and not overwrite:
        if read_record(path) == record:
            return path
        raise ConfigError(f"{path} holds another patient; give --overwrite, or another output folder")
    made = planned.simulate(case)
    series = series_of(made)
    maps = {name: made.truth[name] for name in TARGETS}
    write_patient(
        path, series, maps, made.truth["labels"], regime=case.regime, record=record, overwrite=overwrite
    )
    return path


def cohort_card(*, seed: int, n: int) -> dict[str, Any]:
    """What a reader must know of the cohort."""
    return {
        "name": "paper",
        "patients": n,
        "seed": seed,
        "slices": list(PAPER_SLICES),
        "parts_of_the_whole_cohort": PAPER_PARTS,
        "targets": {
            "nrcbv": "true CBV over normal-appearing white matter of the patient's seven slices",
            "ap_rcbv": "CaPTk's ap-rCBV of the noisy series; its scale and its mean curve come from the seven "
            "slices, not from a whole volume",
        },
        "resampling": "simulated and mapped at 240 x 240, then to 128 x 128 by nearest neighbour",
        "note": NOTE,
    }


def paper_patient(case: CaseParameters) -> SimulatedCase:
    """Simulate a patient, compute ap-rCBV on its seven slices at 240 × 240, bring both to 128 × 128.

    Raises
    ------
    InputError
        If CaPTk's rules refuse the series.
    """
    whole = simulate_case(case)
    try:
        ap_rcbv = captk_maps(whole.signal).ap_rcbv
    except InputError as error:
        raise InputError(f"simulated patient with subject seed {case.subject_seed}: {error}") from error
    maps = {name: whole.truth[name] for name in KEPT} | {"ap_rcbv": ap_rcbv}
    return replace(
        whole,
        signal=nearest_in_plane(whole.signal, PAPER_MATRIX),
        affine=coarser_affine(whole.affine, whole.signal.shape[:2], PAPER_MATRIX),
        truth={name: nearest_in_plane(array, PAPER_MATRIX) for name, array in maps.items()},
    )


def nearest_in_plane(array: NDArray[Any], matrix: int) -> NDArray[Any]:
    """Take the nearest pixel of a coarser square matrix over the same field of view, as the paper does."""
    x, y = (np.rint((np.arange(matrix) + 0.5) * n / matrix - 0.5).astype(np.intp) for n in array.shape[:2])
    return np.ascontiguousarray(array[x][:, y])


def coarser_affine(affine: NDArray[np.float64], shape: tuple[int, ...], matrix: int) -> NDArray[np.float64]:
    """Affine of the coarser matrix over the same field of view."""
    to_fine = np.eye(4)
    for axis in (0, 1):
        ratio = shape[axis] / matrix
        to_fine[axis, axis], to_fine[axis, 3] = ratio, (ratio - 1) / 2
    return np.asarray(affine @ to_fine)
