"""A prediction as DICOM, from the series to the folders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch

from perfmap.engine.predict import PredictConfig, plain_nrcbv
from perfmap.engine.predict_file import Done, predict_file
from perfmap.engine.quality import Finding, QualityReport, Status
from perfmap.errors import ConfigError, InputError
from perfmap.io.dicom_out import FORMS
from perfmap.io.dicom_source import source_from_folder
from perfmap.io.nifti import write_series
from perfmap.models import build_network
from perfmap.models.card import InputContract, ModelCard
from perfmap.models.checkpoint import Checkpoint
from perfmap.report.dicom import write_prediction_dicom
from perfmap.series import Series
from tests.dicom_factory import SECRETS, Scan, oblique_affine, write_classic
from tests.heads import head_series
from tests.models.test_checkpoint import card_fields

pytest.importorskip("highdicom")
SHAPE = (32, 32, 4)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A network with random weights on a head that DICOM files hold too."""
    torch.manual_seed(3)
    network = build_network("unet-gru", n_times=45, widths=(4, 4, 8, 8, 8)).eval().requires_grad_(False)
    card = ModelCard(**{**card_fields(), "inputs": InputContract(matrix=32)}, sha256="5e" * 32)
    folder = tmp_path_factory.mktemp("dicom")
    affine = oblique_affine(SHAPE, angles=(14.0, 3.0, -6.0))
    head = head_series(shape=SHAPE)[0].signal.round()
    write_classic(Scan(head, affine), folder / "in")
    write_series(
        Series(head, affine, time_step=1.5, repetition_time=1.5, echo_time=0.03), folder / "dsc.nii.gz"
    )
    finished = predict_file(
        folder / "dsc.nii.gz",
        folder / "map.nii.gz",
        Checkpoint(card=card, network=network),
        PredictConfig(device="cpu"),
    )
    return replace(finished, source=source_from_folder(folder / "in"))


def test_each_form_holds_the_network_and_the_conventional_map(done: Done, tmp_path: Path) -> None:
    said = write_prediction_dicom(done, tmp_path, FORMS)
    folders = sorted(str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("0001.dcm"))
    assert folders == sorted(f"{form}/{name}" for form in FORMS for name in ("nrcbv", "nrcbv-conventional"))
    assert said["objects"]["mr/nrcbv"] == SHAPE[2]  # type: ignore[index]
    assert said["objects"]["pm/nrcbv"] == 1  # type: ignore[index]
    headers = [pydicom.dcmread(path) for path in tmp_path.rglob("0001.dcm")]
    assert len({header.SeriesInstanceUID for header in headers}) == 6
    assert len({header.SeriesNumber for header in headers}) == 6
    assert {header.StudyInstanceUID for header in headers} == {done.source.study_instance_uid}  # type: ignore[union-attr]
    text = json.dumps(said) + " ".join(str(path) for path in tmp_path.rglob("*"))
    assert not any(secret in text for secret in SECRETS)


def test_measurable_form_equals_the_nifti_map_at_the_same_points(done: Done, tmp_path: Path) -> None:
    write_prediction_dicom(done, tmp_path, ["mr"])
    written = nib.load(done.map_path)
    conventional = plain_nrcbv(done.prediction.prepared)
    valid = done.prediction.prepared.mask
    for name, values, affine in (
        ("nrcbv", written.get_fdata(), written.affine),
        ("nrcbv-conventional", conventional.array, conventional.affine),
    ):
        n_read = 0
        for path in sorted((tmp_path / "mr" / name).iterdir()):
            image = pydicom.dcmread(path)
            row, column = np.reshape(np.asarray(image.ImageOrientationPatient, dtype=float), (2, 3))
            down, across = (float(v) for v in image.PixelSpacing)
            for r, c in np.argwhere(image.pixel_array != image.PixelPaddingValue):
                lps = (
                    np.asarray(image.ImagePositionPatient, dtype=float) + c * across * row + r * down * column
                )
                voxel = np.linalg.solve(affine, np.append(lps * [-1, -1, 1], 1.0))[:3]
                assert np.abs(voxel - voxel.round()).max() < 0.01
                truth = values[tuple(voxel.round().astype(int))]
                read = image.pixel_array[r, c] * float(image.RescaleSlope)
                assert abs(read - truth) <= 0.5 * float(image.RescaleSlope) * 1.001 + 1e-6
                n_read += 1
        assert n_read == valid.sum()


def test_converted_file_that_differs_in_its_bytes_gives_the_same_objects(done: Done, tmp_path: Path) -> None:
    sidecar = done.manifest["sidecar"]
    other = {**done.manifest, "sidecar": {**sidecar, "Input": {**sidecar["Input"], "sha256": "0" * 64}}}
    write_prediction_dicom(done, tmp_path / "a", ["mr"])
    write_prediction_dicom(replace(done, manifest=other), tmp_path / "b", ["mr"])
    for path in (tmp_path / "a").rglob("*.dcm"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_failed_quality_gate_is_the_first_thing_that_a_reader_sees(done: Done, tmp_path: Path) -> None:
    poor = QualityReport((Finding("head_motion", Status.FAIL, 9.0, "the head moved"),))
    write_prediction_dicom(replace(done, quality=poor), tmp_path, ["mr", "sc"])
    for path in tmp_path.rglob("*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        assert header.SeriesDescription.startswith("RUO quality FAIL: ")
        assert "Quality gate: FAIL head_motion." in header.DerivationDescription


def test_network_map_is_not_written_without_a_conventional_one(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_found(prepared: object) -> None:
        raise InputError("no white matter was found")

    monkeypatch.setattr("perfmap.report.dicom.plain_nrcbv", none_found)
    with pytest.raises(InputError, match="not written as DICOM without the conventional map"):
        write_prediction_dicom(done, tmp_path, ["mr"])
    assert list(tmp_path.iterdir()) == []


def test_series_from_nifti_and_existing_output_are_refused(done: Done, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the input is NIfTI"):
        write_prediction_dicom(replace(done, source=None), tmp_path, ["mr"])
    write_prediction_dicom(done, tmp_path, ["mr"])
    with pytest.raises(ConfigError, match="--overwrite"):
        write_prediction_dicom(done, tmp_path, ["mr"])
