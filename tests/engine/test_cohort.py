"""The cohort on disk: two targets on one grid, nearest neighbour, a card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from perfmap.engine.cohort import coarser_affine, nearest_in_plane, simulate_paper_cohort
from perfmap.engine.dataset import find_patients
from perfmap.io.nifti import read_series, read_volume


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    simulate_paper_cohort(folder, seed=0, n=1)
    return folder


def test_patient_has_seven_slices_and_both_targets(cohort: Path) -> None:
    series = read_series(cohort / "patient-0000" / "dsc.nii.gz")
    assert series.signal.shape == (128, 128, 7, 45)
    np.testing.assert_allclose(np.linalg.norm(series.affine[:3, :3], axis=0), [1.875, 1.875, 15.0], rtol=1e-5)
    true, copied = (
        read_volume(cohort / "patient-0000" / f"truth_{name}.nii.gz", like=series).array
        for name in ("nrcbv", "ap_rcbv")
    )
    labels = read_volume(cohort / "patient-0000" / "truth_labels.nii.gz", like=series).array
    tissue = np.isin(labels, [2, 3])
    assert np.corrcoef(true[tissue], copied[tissue])[0, 1] > 0.5  # related, and not the same thing
    assert 100 < np.percentile(copied, 99.9) < 500


def test_training_finds_the_patients_by_either_target(cohort: Path) -> None:
    for target in ("nrcbv", "ap_rcbv"):
        (patient,) = find_patients(cohort, target=target)
        assert patient.name == "patient-0000"
        assert patient.labels is not None


def test_card_says_where_the_scale_comes_from(cohort: Path) -> None:
    card = json.loads((cohort / "cohort.json").read_text("utf-8"))
    assert card["parts_of_the_whole_cohort"] == {"train": 353, "validation": 63, "test": 103}
    assert card["slices"] == [25, 40, 55, 70, 85, 100, 115]
    assert "seven" in card["targets"]["ap_rcbv"]


def test_nearest_pixel_and_its_affine_name_the_same_place() -> None:
    fine = np.arange(240, dtype=float)[:, None] + np.zeros((240, 240))
    coarse = nearest_in_plane(fine, 128)
    affine = coarser_affine(np.eye(4), (240, 240), 128)
    centres = affine[0, 0] * np.arange(128) + affine[0, 3]
    assert np.abs(coarse[:, 0] - centres).max() <= 0.5
    np.testing.assert_allclose((centres[0] + centres[-1]) / 2, 119.5)
