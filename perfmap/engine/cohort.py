"""Write the simulated cohort of the paper: per patient seven slices of 128 × 128 and two reference maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfmap.engine.simulate import NOTE, simulate_cases
from perfmap.errors import InputError
from perfmap.io.sidecar import write_json
from perfmap.phantom.case import CaseParameters, SimulatedCase, simulate_case
from perfmap.phantom.cohort import PAPER_MATRIX, PAPER_PARTS, PAPER_PATIENTS, PAPER_SLICES, draw_patient
from perfmap.physics.captk import captk_maps

CARD_FILE = "cohort.json"
KEPT = ("nrcbv", "labels", "mask", "nawm")
"""Truth maps that a patient keeps beside ap-rCBV."""


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
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write the cohort and, when all patients are there, its card.

    Parameters
    ----------
    output : Path
        Folder; a patient is ``OUT/patient-<number>/`` with ``dsc.nii.gz`` and ``truth_nrcbv`` and
        ``truth_ap_rcbv`` beside it, as `perfmap train` reads them.
    seed, n : int
        As in `plan_paper_cohort`.
    jobs, overwrite, progress
        As in `perfmap.engine.simulate.simulate_cases`.

    Returns
    -------
    list of Path
        Folders of the patients.
    """
    folders = simulate_cases(
        output, plan_paper_cohort(seed=seed, n=n), jobs=jobs, overwrite=overwrite, progress=progress
    )
    write_json(cohort_card(seed=seed, n=n), output / CARD_FILE, overwrite=True)
    return folders


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
