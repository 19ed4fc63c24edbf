"""The cohort on disk: two targets on one grid, nearest neighbour, a card."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from perfmap.engine.cohort import (
    PatientCase,
    coarser_affine,
    make_patient_file,
    nearest_in_plane,
    paper_patient,
    plan_paper_cohort,
    simulate_paper_cohort,
)
from perfmap.engine.patients import find_patients, largest_intensity, patient_stack
from perfmap.engine.train_config import default_inputs
from perfmap.errors import ConfigError, InputError
from perfmap.io.nifti import read_series, read_volume
from perfmap.io.patient_file import read_patient, read_record
from perfmap.models.card import InputContract
from perfmap.phantom.case import CaseParameters, SimulatedCase
from perfmap.phantom.cohort import draw_patient


@pytest.fixture(scope="module", autouse=True)
def simulated_once() -> Iterator[None]:
    """Both layouts hold the same patient: it is simulated once."""
    simulate = functools.cache(paper_patient_of)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PatientCase, "simulate", lambda self, case: simulate(self))
        yield


def paper_patient_of(planned: PatientCase) -> SimulatedCase:
    return paper_patient(planned.parameters())


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    simulate_paper_cohort(folder, seed=0, n=1, as_nifti=True)
    return folder


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    simulate_paper_cohort(folder, seed=0, n=1)
    return folder


def test_a_file_from_before_the_settings_were_kept_is_read_without_them(packed: Path, tmp_path: Path) -> None:
    with np.load(packed / "patient-0000.npz") as content:
        kept = {name: content[name] for name in content.files if name not in ("flip_angle", "field_strength")}
    np.savez(tmp_path / "earlier.npz", **kept)
    series = read_patient(tmp_path / "earlier.npz", maps=()).series
    assert (series.flip_angle, series.field_strength) == (None, None)


def test_one_file_a_patient_holds_what_the_folder_holds(cohort: Path, packed: Path) -> None:
    content = read_patient(packed / "patient-0000.npz")
    series = read_series(cohort / "patient-0000" / "dsc.nii.gz")
    np.testing.assert_array_equal(content.series.signal, series.signal)
    np.testing.assert_allclose(content.series.affine, series.affine, atol=1e-4)
    assert content.series.time_step == pytest.approx(series.time_step)
    assert content.series.echo_time == pytest.approx(0.030)
    settings = (series.flip_angle, series.field_strength)
    assert (content.series.flip_angle, content.series.field_strength) == settings
    assert None not in settings
    for name, array in content.maps.items():
        wanted = read_volume(cohort / "patient-0000" / f"truth_{name}.nii.gz", like=series).array
        assert np.abs(array - wanted).max() <= wanted.max() / 32767
    # 519 files of int16: 5.7 GB, as the cohort is announced
    assert 10.5e6 < (packed / "patient-0000.npz").stat().st_size < 11.2e6
    assert CaseParameters.model_validate_json(read_record(packed / "patient-0000.npz")) == draw_patient(0, 0)


def test_outside_of_the_brain_is_nothing(packed: Path) -> None:
    content = read_patient(packed / "patient-0000.npz", maps=())
    outside = content.labels == 0
    assert 0.5 < outside.mean() < 0.9
    assert not content.series.signal[outside].any()
    assert content.series.signal[~outside].mean() > 100


@pytest.mark.parametrize("target", ["nrcbv", "ap_rcbv"])
def test_networks_learn_from_the_file(packed: Path, target: str) -> None:
    (patient,) = find_patients(packed, target=target)
    stack = patient_stack(patient, InputContract(), slices="all")
    assert len(stack) == 7
    wanted = read_patient(patient.series).maps[target]
    brain = read_patient(patient.series).labels > 0
    top = np.percentile(wanted[brain], 99)
    assert top < float(stack.target.max()) <= 1.01 * wanted.max()
    signal = read_patient(patient.series, maps=()).series.signal
    assert largest_intensity(patient) == signal.max()
    if target == "nrcbv":  # the file says nothing of white matter: the brain's shape does
        assert patient_stack(patient, default_inputs("voxel-unet"), slices="all").white.any()


def test_a_finished_patient_is_left_and_another_one_refused(packed: Path) -> None:
    (first,) = plan_paper_cohort(seed=0, n=1)
    (other,) = plan_paper_cohort(seed=1, n=1)
    path = packed / "patient-0000.npz"
    before = path.stat().st_mtime_ns
    assert make_patient_file(packed / "patient-0000", first) == path
    assert path.stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="another patient"):
        make_patient_file(packed / "patient-0000", other)


def test_damaged_files_and_missing_maps_are_told(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no map cbf, only nrcbv, ap_rcbv"):
        read_patient(packed / "patient-0000.npz", maps=("cbf",))
    half = tmp_path / "patient-0000.npz"
    half.write_bytes((packed / "patient-0000.npz").read_bytes()[:100_000])
    for damaged in (half, tmp_path / "none.npz"):
        with pytest.raises(InputError, match="no patient of a cohort"):
            read_patient(damaged)


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
