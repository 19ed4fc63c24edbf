"""Every kind of DICOM comes out with the values and in the place that it was made with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from perfmap.errors import InputError
from perfmap.io import dicom_convert
from perfmap.io.dicom_convert import Staged, convert
from perfmap.io.dicom_files import ExportFile
from perfmap.io.dicom_scan import scan_export
from perfmap.io.dicom_source import LPS_TO_RAS
from perfmap.io.dicom_stack import arrange, stacks_of
from perfmap.io.dicom_time import measure_time_axis
from perfmap.io.nifti import read_series
from perfmap.io.sidecar import read_json
from tests.dicom_factory import (
    SECRETS,
    Edit,
    Scan,
    oblique_affine,
    write_classic,
    write_enhanced,
    write_mosaic,
)

SHAPE = (16, 12, 3)
SIGNAL = np.random.default_rng(0).integers(100, 4000, (*SHAPE, 20)).astype(float)
OBLIQUE = oblique_affine(SHAPE, angles=(8.0, -5.0, 12.0))


def scan(**options: object) -> Scan:
    return Scan(SIGNAL, options.pop("affine", OBLIQUE), **options)  # type: ignore[arg-type]


def converted(folder: Path, *, lossy: bool = False) -> Staged:
    series = scan_export(folder / "in").series
    arranged = arrange(stacks_of([frame for one in series for frame in one.frames])[0])
    axis = measure_time_axis(arranged.order, series[0].header)
    return convert(arranged, list(series), axis, folder / "out")


def assert_true(result: Staged, truth: Scan, *, tolerance: float = 0.51) -> None:
    """Values to half a step (and one factor for all), places to a hundredth of a millimetre."""
    image = nib.as_closest_canonical(nib.load(result.nifti))
    wanted = nib.as_closest_canonical(nib.Nifti1Image(truth.signal, truth.affine))
    assert np.allclose(image.affine, wanted.affine, atol=0.01)
    found, signal = np.asarray(image.dataobj, dtype=float), wanted.get_fdata()
    factor = (found * signal).sum() / (signal**2).sum()
    assert np.abs(found / factor - signal).max() <= tolerance
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert image.header["pixdim"][4] == pytest.approx(truth.time_step)
    # The origin: each slice of the file lies where its DICOM object says.
    file_affine = nib.load(result.nifti).affine
    corners = [[i, j] for i in (0, SHAPE[0] - 1) for j in (0, SHAPE[1] - 1)]
    for k, piece in enumerate(result.source.slices):
        places = [(LPS_TO_RAS @ file_affine @ [i, j, k, 1])[:3] for i, j in corners]
        assert min(np.abs(np.array(piece.position) - place).max() for place in places) < 0.01
        if result.source.kind == "classic":
            assert np.allclose(result.source.header(k).ImagePositionPatient, piece.position, atol=1e-4)


@pytest.mark.parametrize("vendor", ["siemens", "ge", "philips"])
@pytest.mark.parametrize("plane", ["axial", "sagittal"])
def test_classic_images(tmp_path: Path, vendor: str, plane: str) -> None:
    truth = scan(
        vendor=vendor, affine=oblique_affine(SHAPE, plane=plane, angles=(4.0, -6.0, 9.0), feet_first=True)
    )
    write_classic(truth, tmp_path / "in")
    result = converted(tmp_path)
    assert_true(result, truth)
    assert result.source.kind == "classic"
    assert len(result.source.sop_instance_uids) == 60
    assert result.source.notes == ()


@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_mosaics(tmp_path: Path, plane: str) -> None:
    truth = scan(affine=oblique_affine(SHAPE, plane=plane, angles=(4.0, -6.0, 9.0)))
    write_mosaic(truth, tmp_path / "in")
    result = converted(tmp_path)
    assert_true(result, truth)
    assert (result.source.kind, result.source.rows, result.source.columns) == ("mosaic", 12, 16)


@pytest.mark.parametrize("slices_first", [True, False])
@pytest.mark.parametrize("vendor", ["siemens", "philips", "ge"])
def test_enhanced_object(tmp_path: Path, vendor: str, slices_first: bool) -> None:
    truth = scan(vendor=vendor)
    write_enhanced(truth, tmp_path / "in" / "e", slices_first=slices_first)
    result = converted(tmp_path)
    assert_true(result, truth)
    assert result.source.kind == "enhanced"
    frame = result.source.slices[1].frame
    assert frame is not None
    groups = result.source.header().PerFrameFunctionalGroupsSequence[frame - 1]
    assert np.allclose(
        groups.PlanePositionSequence[0].ImagePositionPatient, result.source.slices[1].position, atol=1e-4
    )


def test_one_enhanced_object_a_volume(tmp_path: Path) -> None:
    truth = scan()
    for t in range(20):
        write_enhanced(truth, tmp_path / "in" / f"{t}", times=range(t, t + 1))
    assert_true(converted(tmp_path), truth)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGLSLossless]
)
def test_transfer_syntaxes(tmp_path: Path, syntax: str) -> None:
    truth = scan(syntax=syntax)
    write_classic(truth, tmp_path / "in")
    assert_true(converted(tmp_path), truth)


@pytest.mark.parametrize("kind", ["philips", "siemens", "enhanced"])
def test_slopes_that_differ_from_image_to_image_are_applied(tmp_path: Path, kind: str) -> None:
    vendor = "philips" if kind == "enhanced" else kind
    truth = scan(vendor=vendor, slopes=lambda t, k: 0.5 + 0.1 * k + 0.01 * t)
    if kind == "enhanced":
        write_enhanced(truth, tmp_path / "in" / "e")
    else:
        write_classic(truth, tmp_path / "in")
    result = converted(tmp_path)
    assert nib.load(result.nifti).get_data_dtype() == np.float32
    assert_true(result, truth, tolerance=0.6)


def test_intercept_is_honoured(tmp_path: Path) -> None:
    truth = scan(slopes=lambda t, k: 0.5, intercept=40.0)
    write_classic(truth, tmp_path / "in")
    result = converted(tmp_path)
    assert_true(result, truth)
    assert np.asarray(nib.load(result.nifti).dataobj).mean() == pytest.approx(SIGNAL.mean(), rel=1e-3)


def test_shuffled_instance_numbers_come_out_in_time(tmp_path: Path) -> None:
    numbers = np.random.default_rng(2).permutation(60) + 1

    def shuffle(data: Dataset, t: int, k: int) -> None:
        data.InstanceNumber = int(numbers[t * 3 + k])

    truth = scan()
    write_classic(truth, tmp_path / "in", edit=shuffle)
    result = converted(tmp_path)
    assert_true(result, truth)
    assert "InstanceNumber would have given another" in " ".join(result.source.notes)


def test_series_of_its_own_for_each_volume(tmp_path: Path) -> None:
    truth = scan()
    for t in range(20):
        write_enhanced(truth, tmp_path / "in" / f"{t}", times=range(t, t + 1), series=f"volume {t}")
    result = converted(tmp_path)
    assert_true(result, truth)
    assert len(result.source.series_instance_uids) == 20


@pytest.mark.parametrize("write", [write_classic, write_enhanced])
def test_flip_angle_and_field_are_told_by_the_headers_where_dcm2niix_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., None]
) -> None:
    write(scan(), tmp_path / "in")
    monkeypatch.setattr(dicom_convert, "_told_by_dcm2niix", lambda path: {})
    series = read_series(converted(tmp_path).nifti)
    assert (series.flip_angle, series.field_strength) == (90.0, 3.0)


def test_converted_file_that_does_not_hold_the_headers_is_never_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = dicom_convert._run_dcm2niix

    def swapping(staging: Path, target: Path) -> list[Path]:
        paths = run(staging, target)
        image = nib.load(paths[0])
        swapped = np.asarray(image.dataobj)[..., [1, 0, *range(2, 20)]]
        nib.save(nib.Nifti1Image(swapped, image.affine, image.header), paths[0])
        return paths

    monkeypatch.setattr(dicom_convert, "_run_dcm2niix", swapping)
    truth = scan()
    write_classic(truth, tmp_path / "in")
    result = converted(tmp_path)
    assert_true(result, truth)
    assert "put together from the images themselves" in " ".join(result.source.notes)
    (tmp_path / "m").mkdir()
    write_mosaic(truth, tmp_path / "m" / "in")
    with pytest.raises(InputError, match="does not agree with the headers"):
        converted(tmp_path / "m")


def test_nothing_of_the_patient_is_staged_beside_the_images(tmp_path: Path) -> None:
    def comment(data: Dataset, t: int, k: int) -> None:
        data.ImageComments = "Ada Lovelace, PID4711"
        data.PatientComments = "ACC0815"

    edit: Edit = comment
    write_classic(scan(description="DSC of Lovelace"), tmp_path / "in", edit=edit)
    result = converted(tmp_path)
    header = result.nifti.read_bytes()[:400].decode("latin-1")
    written = (
        header + result.sidecar.read_text("utf-8") + " ".join(p.name for p in (tmp_path / "out").rglob("*"))
    )
    assert not [secret for secret in SECRETS if secret in written]
    assert read_json(result.sidecar)["EchoTime"] == pytest.approx(0.03)


def test_file_that_only_mentions_deflation_and_cannot_be_written_anew_is_refused(tmp_path: Path) -> None:
    """Big-endian, with the number of the deflated syntax in a text: found by fuzzing."""
    (path,) = write_classic(Scan(np.ones((8, 6, 1, 1)), oblique_affine((8, 6, 1))), tmp_path / "a")
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(path, data, implicit_vr=False, little_endian=False, force_encoding=True)
    file = ExportFile(path, None, path.stat().st_size, 0.0)
    with pytest.raises(InputError, match="damaged"):
        dicom_convert._inflate(file, tmp_path / "b.dcm")
