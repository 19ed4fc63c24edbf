"""Maps in DICOM: where they lie, what they say, and what outside tools make of them."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr._concepts_dict import concepts

import perfmap
from perfmap.errors import ConfigError, InputError
from perfmap.io.dicom_out import chosen_forms, write_objects
from perfmap.io.dicom_out_grid import sample_on_slices
from perfmap.io.dicom_out_header import DerivedMap, deterministic_uid
from perfmap.io.dicom_out_mr import mr_series, quantise
from perfmap.io.dicom_out_pm import pm_object
from perfmap.io.dicom_out_sc import sc_series
from perfmap.io.dicom_source import DicomSource
from perfmap.quantities import DICOM_MEANINGS, QUANTITIES
from perfmap.report.dicom import form_objects
from perfmap.series import Volume
from tests.dicom_checks import (
    check_dcm2niix,
    check_mr,
    check_pm,
    check_sc,
    check_simpleitk,
    check_valid,
    errors_of,
)
from tests.dicom_factory import PATIENT_ID
from tests.dicom_maps import CASES, SHAPE, map_of, other_source, scan_of, written_source

pytest.importorskip("highdicom")
BLANK = np.zeros((SHAPE[2], SHAPE[1] * 3 + 5, SHAPE[0] * 3 + 7, 3), dtype=np.uint8)


def objects_of(source: DicomSource, made: DerivedMap) -> list[Dataset]:
    """The objects of all forms."""
    return [*mr_series(source, made), *sc_series(source, made, BLANK, enlarged=3), pm_object(source, made)]


@pytest.mark.parametrize(("kind", "way"), CASES)
def test_value_of_each_pixel_belongs_to_the_point_where_its_header_puts_it(
    tmp_path: Path, kind: str, way: str
) -> None:
    scan = scan_of(way)
    source = written_source(scan, kind, tmp_path)  # type: ignore[arg-type]
    made = map_of(scan)
    measured = list(mr_series(source, made))
    check_mr(measured, made)
    check_pm(pm_object(source, made), made)
    check_sc(list(form_objects(source, made, "sc")), measured)


@pytest.mark.parametrize(("kind", "way"), [case for case in CASES if case[1] != "tilted"])
def test_simpleitk_and_dcm2niix_read_the_same_values_at_the_same_points(
    tmp_path: Path, kind: str, way: str
) -> None:
    scan = scan_of(way)
    source, made = written_source(scan, kind, tmp_path / "in"), map_of(scan)  # type: ignore[arg-type]
    check_simpleitk(list(mr_series(source, made)), made, tmp_path / "out")
    check_dcm2niix(tmp_path / "out", made, tmp_path / "back")


@pytest.mark.parametrize(("kind", "way"), CASES)
def test_dciodvfy_finds_no_error_that_the_source_does_not_have(tmp_path: Path, kind: str, way: str) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian: dicom3tools) is not installed")
    vendor = "philips" if (kind, way) == ("classic", "sagittal-oblique") else "siemens"
    scan = scan_of(way, vendor=vendor)
    source, made = written_source(scan, kind, tmp_path), map_of(scan)  # type: ignore[arg-type]
    images = objects_of(source, made)
    first_of_each = {image.SOPClassUID: image for image in reversed(images)}
    assert len(first_of_each) == 3
    check_valid(list(first_of_each.values()), source.slices[0].path, tmp_path / "out")


def test_dciodvfy_is_asked_in_a_way_that_it_can_object_to(tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian: dicom3tools) is not installed")
    scan = scan_of("axial")
    image = next(mr_series(written_source(scan, "classic", tmp_path), map_of(scan)))
    del image.ImagePositionPatient
    image.save_as(tmp_path / "spoiled", enforce_file_format=True)
    assert any("ImagePositionPatient" in line for line in errors_of(tmp_path / "spoiled"))


def encoded(images: list[Dataset]) -> list[bytes]:
    streams = [io.BytesIO() for _ in images]
    for image, stream in zip(images, streams, strict=True):
        image.save_as(stream, enforce_file_format=True)
    return [stream.getvalue() for stream in streams]


def test_rerun_gives_the_same_bytes_and_another_model_another_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = scan_of("axial")
    source, made = written_source(scan, "classic", tmp_path), map_of(scan)
    first = objects_of(source, made)
    assert encoded(first) == encoded(objects_of(source, made))
    series = {image.SeriesInstanceUID for image in first}
    assert len(series) == 3
    changed = [
        objects_of(source, replace(made, identity="another model")),
        objects_of(source, map_of(scan, method="conventional")),
        objects_of(other_source(source), made),
    ]
    monkeypatch.setattr(perfmap, "__version__", "99.0")
    changed.append(objects_of(source, made))
    everything = [image for images in (first, *changed) for image in images]
    assert len({image.SeriesInstanceUID for image in everything}) == 3 * 5
    uids = [image.SOPInstanceUID for image in everything]
    assert len(set(uids)) == len(uids)
    assert all(uid.is_valid and uid.startswith("2.25.") for uid in uids)


def test_uid_is_the_same_on_every_machine() -> None:
    assert deterministic_uid(["1.2", "3"], "mr") == "2.25.125245431370389918186895519769418079698"


def test_objects_lie_in_the_study_of_the_source_and_refer_to_one_volume_of_it(tmp_path: Path) -> None:
    scan = scan_of("axial")
    source = written_source(scan, "classic", tmp_path)
    before_bolus = {piece.sop_instance_uid for piece in source.slices}
    origin = source.header()
    for image in objects_of(source, map_of(scan)):
        for keyword in (
            "StudyInstanceUID",
            "PatientID",
            "PatientName",
            "PatientBirthDate",
            "AccessionNumber",
        ):
            assert image[keyword].value == origin[keyword].value
        assert image.FrameOfReferenceUID == origin.FrameOfReferenceUID
        assert image.SeriesInstanceUID != origin.SeriesInstanceUID
        referred = {item.ReferencedSOPInstanceUID for item in image.SourceImageSequence}
        assert referred <= before_bolus
        assert len(referred) == (len(before_bolus) if "NumberOfFrames" in image else 1)
        assert (image.Manufacturer, image.SoftwareVersions) == ("perfmap", perfmap.__version__)
        assert image.ContributingEquipmentSequence[0].Manufacturer == origin.Manufacturer
        assert image.StudyDate == "20200102"
        assert "InstanceCreationDate" not in image


@pytest.mark.parametrize("kind", ["classic", "mosaic", "enhanced"])
def test_reference_names_the_frame_only_where_there_are_frames(tmp_path: Path, kind: str) -> None:
    scan = scan_of("axial")
    source = written_source(scan, kind, tmp_path)  # type: ignore[arg-type]
    made = map_of(scan)
    frames = [image.SourceImageSequence[0].get("ReferencedFrameNumber") for image in mr_series(source, made)]
    assert frames == ([1, 2, 3, 4] if kind == "enhanced" else [None] * 4)
    groups = pm_object(source, made).PerFrameFunctionalGroupsSequence
    for frame in groups:
        here = np.asarray(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        k = int(np.argmin([np.linalg.norm(here - np.array(piece.position)) for piece in source.slices]))
        item = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert item.ReferencedSOPInstanceUID == source.slices[k].sop_instance_uid
        assert item.get("ReferencedFrameNumber") == source.slices[k].frame


def test_every_object_says_research_only_and_says_what_it_measures(tmp_path: Path) -> None:
    scan = scan_of("axial")
    for image in objects_of(written_source(scan, "enhanced", tmp_path), map_of(scan)):
        assert image.SeriesDescription.startswith("RUO ")
        assert len(image.SeriesDescription) <= 64
        assert image.ContentQualification == "RESEARCH"
        assert "Not for diagnosis" in image.ImageComments
        assert image.BurnedInAnnotation == "NO"
        assert image.ImageType[0] == "DERIVED"
    for image in (
        next(mr_series(written_source(scan, "classic", tmp_path / "c"), map_of(scan))),
        pm_object(
            written_source(scan, "classic", tmp_path / "d"), map_of(scan)
        ).SharedFunctionalGroupsSequence[0],
    ):
        world = image.RealWorldValueMappingSequence[0]
        assert world.MeasurementUnitsCodeSequence[0].CodeValue == "{ratio}"
        quantity, method = (item.ConceptCodeSequence[0] for item in world.QuantityDefinitionSequence)
        assert (quantity.CodeValue, quantity.CodeMeaning) == ("126398", "Relative Regional Blood Volume")
        assert method.CodeValue == "126303"


def test_window_is_the_same_whatever_the_values(tmp_path: Path) -> None:
    scan = scan_of("axial")
    source, made = written_source(scan, "classic", tmp_path), map_of(scan)
    brighter = replace(made, volume=Volume(made.volume.array * np.float32(5), made.volume.affine, "nrcbv"))
    windows = {
        (image.WindowCenter, image.WindowWidth) for m in (made, brighter) for image in mr_series(source, m)
    }
    assert windows == {(2.5, 5.0)}


def test_character_set_and_lossy_compression_are_carried_over(tmp_path: Path) -> None:
    def spoil(data: Dataset, t: int, k: int) -> None:
        data.SpecificCharacterSet, data.PatientName = "ISO_IR 100", "Müller^Jörg"
        data.LossyImageCompression, data.LossyImageCompressionRatio = "01", "12.5"
        data.LossyImageCompressionMethod = "ISO_10918_1"

    scan = scan_of("axial")
    source = written_source(scan, "classic", tmp_path, edit=spoil)
    images = objects_of(source, map_of(scan))
    for image, raw in zip(images, encoded(images), strict=True):
        assert "Müller^Jörg".encode("latin-1") in raw
        assert str(pydicom.dcmread(io.BytesIO(raw)).PatientName) == "Müller^Jörg"
        assert (image.LossyImageCompression, image.LossyImageCompressionRatio) == ("01", 12.5)


@pytest.mark.parametrize("largest", [0.4, 30.0, 60.0, 320.0])
def test_rounding_is_at_most_half_a_step_and_padding_is_no_value(largest: float) -> None:
    values = np.linspace(-0.1 * largest, largest, 999)
    valid = np.arange(999) % 3 > 0
    stored, padding, step = quantise(values, valid)
    assert np.abs(stored[valid] * step - values[valid]).max() <= step / 2 * (1 + 1e-9)
    assert (stored[~valid] == padding).all()
    assert padding not in stored[valid]


def test_values_that_do_not_fit_are_refused() -> None:
    everywhere = np.ones(2, dtype=bool)
    with pytest.raises(InputError, match="16 bit"):
        quantise(np.array([1.0, 1e5]), everywhere)
    with pytest.raises(InputError, match="not finite"):
        quantise(np.array([1.0, np.nan]), everywhere)


def test_map_on_another_grid_is_refused_not_resampled(tmp_path: Path) -> None:
    scan = scan_of("axial")
    source, made = written_source(scan, "classic", tmp_path), map_of(scan)
    moved = made.volume.affine.copy()
    moved[0, 3] += 1.0
    with pytest.raises(InputError, match="off the grid"):
        sample_on_slices(Volume(made.volume.array, moved), source)
    with pytest.raises(InputError, match="outside of the map"):
        sample_on_slices(Volume(made.volume.array[:-1], made.volume.affine), source)


def test_codes_are_those_of_the_standard() -> None:
    standard = {code: meaning for entry in concepts["DCM"].values() for code, (meaning, _) in entry.items()}
    assert {code: standard[code] for code in DICOM_MEANINGS} == DICOM_MEANINGS
    assert {q.dicom_code for q in QUANTITIES.values() if q.dicom_code} <= set(DICOM_MEANINGS)


def test_forms_are_named_or_all() -> None:
    assert chosen_forms(None) == ("mr", "sc", "pm")
    assert chosen_forms("pm, mr") == ("pm", "mr")
    with pytest.raises(ConfigError, match="wanted some of"):
        chosen_forms("mr,seg")


def test_series_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    scan = scan_of("axial")
    source, made = written_source(scan, "classic", tmp_path / "in"), map_of(scan)

    def failing():  # type: ignore[no-untyped-def]
        yield next(mr_series(source, made))
        raise InputError("stop")

    with pytest.raises(InputError, match="stop"):
        write_objects(failing(), tmp_path / "out" / "nrcbv")
    assert list((tmp_path / "out").iterdir()) == []
    write_objects(mr_series(source, made), tmp_path / "out" / "nrcbv")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out" / "nrcbv").iterdir()}
    assert sorted(before) == ["0001.dcm", "0002.dcm", "0003.dcm", "0004.dcm"]
    with pytest.raises(ConfigError, match="--overwrite"):
        write_objects(mr_series(source, made), tmp_path / "out" / "nrcbv")
    with pytest.raises(InputError, match="stop"):
        write_objects(failing(), tmp_path / "out" / "nrcbv", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "nrcbv").iterdir()} == before
    write_objects(mr_series(source, made), tmp_path / "out" / "nrcbv", overwrite=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "nrcbv").iterdir()} == before
    assert PATIENT_ID not in "".join(str(path) for path in tmp_path.rglob("*"))
