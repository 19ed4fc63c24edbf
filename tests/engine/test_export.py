from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from perfmap.engine.export import Export, SeriesLine, find_cases, stage, the_case
from perfmap.errors import InputError
from perfmap.io.nifti import read_series
from perfmap.series import Series
from tests.dicom_factory import SECRETS, Scan, oblique_affine, write_classic, write_mosaic
from tests.heads import head_series

SHAPE = (32, 28, 3)
AFFINE = oblique_affine(SHAPE, angles=(8.0, -5.0, 3.0))


@pytest.fixture(scope="session")
def dsc() -> np.ndarray:
    """Signal (column, row, slice, time) with a bolus."""
    return head_series(shape=SHAPE, n_times=24, arrival=12.0)[0].signal


def line_of(export: Export, number: int) -> SeriesLine:
    return next(line for line in export.series if line.number == str(number))


def staged(path: Path, folder: Path, **options: object) -> Series:
    return read_series(stage(the_case(find_cases(path, **options)), folder).nifti)  # type: ignore[arg-type]


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


def test_names_are_pseudonyms_unless_asked_for(tmp_path: Path, dsc: np.ndarray) -> None:
    write_classic(Scan(dsc, AFFINE, description="perf of Lovelace"), tmp_path / "in" / "LOVELACE_ADA")
    found = find_cases(tmp_path / "in")
    again = find_cases(tmp_path / "in" / "LOVELACE_ADA")
    assert found.cases[0].name == again.cases[0].name
    result = stage(found.cases[0], tmp_path / "out")
    written = result.sidecar.read_text() + repr(found.series) + result.nifti.name
    assert not any(secret.lower() in written.lower() for secret in SECRETS)
    assert "PID4711" in find_cases(tmp_path / "in", keep_phi=True).cases[0].name


def test_an_export_without_dsc_is_refused_with_a_way_on(tmp_path: Path, dsc: np.ndarray) -> None:
    write_classic(Scan(dsc[..., :3], AFFINE), tmp_path)
    with pytest.raises(InputError, match=r"no DSC series.*inspect"):
        the_case(find_cases(tmp_path))
