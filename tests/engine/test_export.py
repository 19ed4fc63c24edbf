from __future__ import annotations

import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from perfmap.engine.export import Export, SeriesLine, find_cases, stage, the_case
from perfmap.engine.predict import PredictConfig
from perfmap.engine.predict_file import predict_file
from perfmap.engine.reproduce import reproduce
from perfmap.engine.training_range import acquisition_of
from perfmap.errors import InputError
from perfmap.io.dicom_check import onto_itself
from perfmap.io.dicom_pixels import Undecodable
from perfmap.io.nifti import read_series
from perfmap.io.sidecar import read_json, write_json
from perfmap.models.checkpoint import load_checkpoint
from tests.dicom_factory import (
    SECRETS,
    Scan,
    another_uid,
    oblique_affine,
    write_classic,
    write_enhanced,
    write_mosaic,
)
from tests.heads import head_series
from tests.studies import save_small_model

SHAPE = (32, 28, 3)
AFFINE = oblique_affine(SHAPE, angles=(8.0, -5.0, 3.0))


@pytest.fixture(scope="session")
def dsc() -> np.ndarray:
    """Signal (column, row, slice, time) with a bolus."""
    return head_series(shape=SHAPE, n_times=24, arrival=12.0)[0].signal


def line_of(export: Export, number: int) -> SeriesLine:
    return next(line for line in export.series if line.number == str(number))


def test_the_dsc_series_is_found_by_what_it_is(tmp_path: Path, dsc: np.ndarray) -> None:
    export = tmp_path / "export"
    write_classic(Scan(dsc, AFFINE, description="nothing telling"), export / "a" / "b")
    rising = 2 * dsc[..., :1] - dsc  # T1-weighted: bright where DSC is dark
    write_classic(
        Scan(rising, AFFINE, series="dce", series_number=7, description="ep2d_perf_DSC"), export / "dce"
    )
    write_classic(Scan(dsc[..., :1], AFFINE, series="t1", series_number=2), export / "t1", suffix="")
    still = np.repeat(dsc[..., :1], 24, axis=3) + np.random.default_rng(0).normal(0, 5, dsc.shape)
    write_classic(Scan(still.clip(0), AFFINE, series="bold", series_number=8), export / "bold")
    (export / "report.pdf").write_bytes(b"%PDF-1.4")
    (export / "empty").touch()
    found = find_cases(export)
    assert [case.number for case in found.cases] == ["5"]
    assert "rises" in line_of(found, 7).reason
    assert "1 volume" in line_of(found, 2).reason
    assert "no bolus" in line_of(found, 8).reason
    assert found.left_files == {"not DICOM": 1, "empty file": 1}


def test_motion_corrected_twin_is_taken_only_when_preferred(tmp_path: Path, dsc: np.ndarray) -> None:
    write_classic(Scan(dsc, AFFINE), tmp_path / "in")
    write_mosaic(
        Scan(dsc, AFFINE, series="moco", series_number=6, description="MoCoSeries"), tmp_path / "in" / "m"
    )
    assert the_case(find_cases(tmp_path / "in")).number == "5"
    assert the_case(find_cases(tmp_path / "in", prefer="moco")).number == "6"


def test_map_of_a_motion_corrected_twin_can_be_made_again(tmp_path: Path, dsc: np.ndarray) -> None:
    write_classic(Scan(dsc, AFFINE), tmp_path / "in")
    twin = (dsc * 1.01).round()
    write_classic(Scan(twin, AFFINE, series="m", series_number=6, description="MoCo"), tmp_path / "in" / "m")
    model = save_small_model(tmp_path / "model")
    result = stage(the_case(find_cases(tmp_path / "in", prefer="moco")), tmp_path / "staged")
    done = predict_file(result.nifti, tmp_path / "map.nii.gz", load_checkpoint(model), PredictConfig())
    write_json(done.manifest, tmp_path / "manifest.json")
    assert reproduce(tmp_path / "manifest.json", input_path=tmp_path / "in", model=str(model)).same
    manifest = read_json(tmp_path / "manifest.json")
    manifest["request"]["timing"] = manifest["request"].pop("protocol")
    write_json(manifest, tmp_path / "earlier.json")
    with pytest.raises(InputError, match="written by an earlier state"):
        reproduce(tmp_path / "earlier.json", input_path=tmp_path / "in", model=str(model))


def test_names_are_pseudonyms_unless_asked_for(tmp_path: Path, dsc: np.ndarray) -> None:
    write_classic(Scan(dsc, AFFINE, description="perf of Lovelace"), tmp_path / "in" / "LOVELACE_ADA")
    found = find_cases(tmp_path / "in")
    again = find_cases(tmp_path / "in" / "LOVELACE_ADA")
    assert found.cases[0].name == again.cases[0].name
    result = stage(found.cases[0], tmp_path / "out")
    written = result.sidecar.read_text() + repr(found.series) + result.nifti.name
    assert not any(secret.lower() in written.lower() for secret in SECRETS)
    assert "PID4711" in find_cases(tmp_path / "in", keep_phi=True).cases[0].name


@pytest.mark.parametrize(
    ("description", "shown"),
    [
        ("perf born 18151210", False),
        ("DSC acc0815", False),
        ("DSC_Wu", False),
        ("wuerzburg perf", True),  # holds the letters, not the name
        ("DSC 王", False),
        ("ep2d_perf_DSC", True),
    ],
)
def test_description_is_shown_unless_it_names_the_patient(
    tmp_path: Path, dsc: np.ndarray, description: str, shown: bool
) -> None:
    def rename(data: Dataset, t: int, k: int) -> None:
        data.SpecificCharacterSet, data.PatientName = "ISO_IR 192", "Wu^Li=王^力"
        data.SeriesDescription = description

    write_classic(Scan(dsc[..., :2], AFFINE), tmp_path, edit=rename)
    line = line_of(find_cases(tmp_path), 5)
    assert line.description == (description if shown else "(names the patient)")
    assert line_of(find_cases(tmp_path, keep_phi=True), 5).description == description


def test_header_that_makes_a_converted_file_unreadable_is_a_refusal(tmp_path: Path, dsc: np.ndarray) -> None:
    def spoil(data: Dataset, t: int, k: int) -> None:
        data["RescaleSlope"] = DataElement("RescaleSlope", "DS", "1")
        data["RescaleIntercept"] = DataElement("RescaleIntercept", "DS", "nan", validation_mode=0)

    write_mosaic(Scan(dsc, AFFINE), tmp_path / "in", edit=spoil)
    with pytest.raises(InputError, match="dcm2niix"):
        stage(the_case(find_cases(tmp_path / "in")), tmp_path / "out")


def test_an_export_without_dsc_is_refused_with_a_way_on(tmp_path: Path, dsc: np.ndarray) -> None:
    write_classic(Scan(dsc[..., :3], AFFINE), tmp_path)
    with pytest.raises(InputError, match=r"no DSC series.*inspect"):
        the_case(find_cases(tmp_path))


def test_still_arriving_is_incomplete_and_an_aborted_scan_is_not(tmp_path: Path, dsc: np.ndarray) -> None:
    def plan_more(data: Dataset, t: int, k: int) -> None:
        data.NumberOfTemporalPositions = 40

    write_classic(Scan(dsc, AFFINE, vendor="ge"), tmp_path, edit=plan_more)
    newest = max(path.stat().st_mtime for path in tmp_path.iterdir())
    young = the_case(find_cases(tmp_path, quiet_minutes=10.0, now=newest + 60.0))
    assert "still arriving" in young.incomplete
    old = the_case(find_cases(tmp_path, quiet_minutes=10.0, now=newest + 3600.0))
    assert old.incomplete == ""
    assert "24 of 40 planned volumes" in " ".join(old.notes)


def test_echoes_are_split_and_the_one_nearest_30_ms_is_taken(tmp_path: Path, dsc: np.ndarray) -> None:
    for echo in (0.012, 0.034):

        def tell(data: Dataset, t: int, k: int, echo: float = echo) -> None:
            data.SOPInstanceUID = another_uid(data.SOPInstanceUID, echo)
            data.InstanceNumber += round(1e5 * echo)

        write_classic(Scan(dsc, AFFINE, echo_time=echo), tmp_path / "in" / f"{echo}", edit=tell)
    found = find_cases(tmp_path / "in")
    case = the_case(found)
    assert case.arranged.stack.echo_time == pytest.approx(0.034)
    assert "that of 34 ms is taken, nearest to 30 ms; left: 12 ms" in " ".join(case.notes)
    assert line_of(found, 5).echo_times_ms == (12.0, 34.0)
    assert stage(case, tmp_path / "out").sidecar.is_file()


def test_spin_echo_is_labelled(tmp_path: Path, dsc: np.ndarray) -> None:
    write_classic(Scan(dsc, AFFINE, sequence=("EP", "SE")), tmp_path)
    assert "SE-nrCBV" in " ".join(the_case(find_cases(tmp_path)).notes)


def test_one_acquisition_stored_as_many_series_is_joined(tmp_path: Path, dsc: np.ndarray) -> None:
    scan = Scan(dsc, AFFINE)
    for t in range(24):
        write_enhanced(scan, tmp_path / "in" / f"{t}", times=range(t, t + 1), series=f"v{t}")
    case = the_case(find_cases(tmp_path / "in"))
    assert "stored as 24 series was joined" in " ".join(case.notes)
    assert len(case.series) == 24


def test_two_injections_are_two_cases(tmp_path: Path, dsc: np.ndarray) -> None:
    write_classic(Scan(dsc, AFFINE), tmp_path / "a")
    write_classic(Scan(dsc, AFFINE, series="second", series_number=9, start=37_500.0), tmp_path / "b")
    found = find_cases(tmp_path)
    assert [case.number for case in found.cases] == ["5", "9"]
    with pytest.raises(InputError, match=r"2 DSC series in the export \(series 5, 9\)"):
        the_case(found)


def test_magnitude_is_kept_and_phase_alone_is_left(tmp_path: Path, dsc: np.ndarray) -> None:
    def as_phase(data: Dataset, t: int, k: int) -> None:
        data.ImageType = ["ORIGINAL", "PRIMARY", "P", "ND"]
        data.SOPInstanceUID = another_uid(data.SOPInstanceUID, "phase")

    write_classic(Scan(dsc, AFFINE), tmp_path / "a")
    write_classic(Scan(dsc, AFFINE), tmp_path / "a" / "phase", edit=as_phase)
    assert "phase images beside the magnitude were left" in " ".join(
        the_case(find_cases(tmp_path / "a")).notes
    )
    assert line_of(find_cases(tmp_path / "a" / "phase"), 5).reason == "phase images, wanted magnitude"


def test_maps_of_the_vendor_and_diffusion_are_left_with_their_reason(tmp_path: Path, dsc: np.ndarray) -> None:
    map_type = ("DERIVED", "PRIMARY", "PERFUSION", "TTP", "ND")
    write_classic(
        Scan(dsc[..., :1], AFFINE, series="ttp", series_number=11, image_type=map_type), tmp_path / "ttp"
    )

    def weight(data: Dataset, t: int, k: int) -> None:
        data.DiffusionBValue = 1000.0

    write_classic(Scan(dsc, AFFINE, series="dwi", series_number=12), tmp_path / "dwi", edit=weight)

    def colour(data: Dataset, t: int, k: int) -> None:
        data.SamplesPerPixel = 3

    write_classic(Scan(dsc[..., :1], AFFINE, series="rgb", series_number=13), tmp_path / "rgb", edit=colour)
    found = find_cases(tmp_path)
    assert line_of(found, 11).reason == "a map of the vendor (TTP)"
    assert line_of(found, 12).reason == "diffusion-weighted"
    assert "colour" in line_of(found, 13).reason


def test_refused_series_names_its_reason(tmp_path: Path, dsc: np.ndarray) -> None:
    paths = write_classic(Scan(dsc, AFFINE), tmp_path)
    for path in paths[30:33]:
        path.unlink()
    found = find_cases(tmp_path)
    assert line_of(found, 5).refused
    with pytest.raises(
        InputError, match=r"series 5: volume\(s\) missing: AcquisitionNumber goes from 10 to 12"
    ):
        the_case(found)


def test_mixed_matrices_are_refused(tmp_path: Path, dsc: np.ndarray) -> None:
    write_classic(Scan(dsc, AFFINE), tmp_path / "a")
    half = dsc[:16, :14]

    def other(data: Dataset, t: int, k: int) -> None:
        data.SOPInstanceUID = another_uid(data.SOPInstanceUID, "half")

    write_classic(
        Scan(half, oblique_affine((16, 14, 3), spacing=(3.0, 3.0, 5.0))), tmp_path / "b", edit=other
    )
    with pytest.raises(InputError, match="different matrix in one series"):
        the_case(find_cases(tmp_path))


def test_clock_that_shuffles_the_bolus_is_not_believed(tmp_path: Path, dsc: np.ndarray) -> None:
    order = np.random.default_rng(3).permutation(24)

    def shuffle(data: Dataset, t: int, k: int) -> None:
        data.AcquisitionTime = data.ContentTime = f"10{20 + order[t] // 60:02d}{int(order[t]):02d}.000000"
        data.AcquisitionNumber = 1

    write_classic(Scan(dsc, AFFINE, time_step=1.0), tmp_path, edit=shuffle)
    with pytest.raises(InputError, match=r"the signal jumps.*InstanceNumber"):
        the_case(find_cases(tmp_path))


def test_facts_for_the_quality_gate_travel_with_the_series(tmp_path: Path, dsc: np.ndarray) -> None:
    def spoil(data: Dataset, t: int, k: int) -> None:
        data.LossyImageCompression, data.PatientAge = "01", "012Y"
        data.ContrastBolusAgent = "Ferumoxytol"

    write_classic(Scan(dsc, AFFINE), tmp_path / "in", edit=spoil)
    result = stage(the_case(find_cases(tmp_path / "in")), tmp_path / "out")
    facts = acquisition_of(read_json(result.sidecar))
    assert (facts.lossy, facts.child, facts.blood_pool_agent) == (True, True, True)
    series = read_series(result.nifti)
    assert (series.flip_angle, series.field_strength) == (90.0, 3.0)
    assert result.source.lossy


def test_unknown_compression_is_looked_at_after_conversion(
    tmp_path: Path, dsc: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def undecodable(*_: object) -> None:
        raise Undecodable("compressed")

    monkeypatch.setattr("perfmap.engine.export_choice.read_pixels", undecodable)
    monkeypatch.setattr("perfmap.io.dicom_check.read_pixels", undecodable)
    write_classic(Scan(dsc, AFFINE), tmp_path / "in")
    found = find_cases(tmp_path / "in")
    assert "after conversion" in line_of(found, 5).reason
    result = stage(the_case(found), tmp_path / "out")
    assert "could not be compared" in " ".join(result.source.notes)


def test_slices_that_a_conversion_lacks_shift_no_others(tmp_path: Path, dsc: np.ndarray) -> None:
    """Found by the fuzzer: an index map that leaves the image is none."""
    write_classic(Scan(dsc, AFFINE), tmp_path / "in")
    result = stage(the_case(find_cases(tmp_path / "in")), tmp_path / "out")
    shape = nib.load(result.nifti).shape
    shifted = np.diag([1, -1, 1, 1])
    shifted[1, 3] = shape[1] - 1
    assert onto_itself(shifted, shape)
    shifted[2, 3] = -1
    assert not onto_itself(shifted, shape)


def test_an_archive_that_is_damaged_in_one_image_is_refused(tmp_path: Path, dsc: np.ndarray) -> None:
    """Found by the fuzzer: headers can be read, the checksum of one member is wrong."""
    files = write_mosaic(Scan(dsc, AFFINE), tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for file in files:
            archive.write(file, file.name)
    content = bytearray((tmp_path / "export.zip").read_bytes())
    pixels = content.index(files[5].read_bytes()[-500:])
    content[pixels + 100] ^= 255
    (tmp_path / "export.zip").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        stage(the_case(find_cases(tmp_path / "export.zip")), tmp_path / "out")


def test_a_sequence_of_an_unknown_kind_counts_as_missing(tmp_path: Path, dsc: np.ndarray) -> None:
    """Found by the fuzzer: pydicom raises NotImplementedError for it, and only once it is looked at."""
    path = write_enhanced(Scan(dsc, AFFINE), tmp_path / "in" / "E1")
    content = path.read_bytes()
    timing = content.index(b"\x28\x00\x45\x91SQ")  # PixelValueTransformationSequence of a frame
    path.write_bytes(content[: timing + 4] + b"S\xc3" + content[timing + 6 :])
    found = find_cases(tmp_path / "in")
    assert len(found.cases) + sum(bool(line.reason) for line in found.series) >= 1
