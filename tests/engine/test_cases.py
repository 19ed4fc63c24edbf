"""Which files of an input are cases, what they are called, and why the others are left out."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from perfmap.engine.cases import Protocol, as_study_list, discover, is_single
from perfmap.errors import ConfigError, InputError, PerfmapWarning
from perfmap.io.study_list import write_study_list


def image(path: Path, *shape: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones(shape, np.int16), np.eye(4)), path)
    return path


def names(source: Path, **options: Path) -> list[str]:
    return [case.name for case in discover(source, **options).cases]


def test_a_folder_gives_its_4d_files_by_name_and_says_why_the_rest_is_none(tmp_path: Path) -> None:
    image(tmp_path / "b" / "dsc.nii.gz", 2, 2, 2, 20)
    image(tmp_path / "a.nii", 2, 2, 2, 5)
    image(tmp_path / "b" / "truth_nrcbv.nii.gz", 2, 2, 2)
    image(tmp_path / ".cache" / "c.nii.gz", 2, 2, 2, 20)
    found = discover(tmp_path)
    assert [case.name for case in found.cases] == ["a", "b"]
    assert [(Path(entry.path).name, entry.reason) for entry in found.left_out] == [
        ("truth_nrcbv.nii.gz", "3D, wanted 4D")
    ]


def test_a_file_that_cannot_be_read_is_a_case_so_that_it_is_reported(tmp_path: Path) -> None:
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    assert names(tmp_path) == ["broken"]


def test_a_bids_data_set_gives_dsc_from_perf_with_its_entities(tmp_path: Path) -> None:
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    image(tmp_path / "sub-01/ses-2/perf/sub-01_ses-2_run-1_dsc.nii.gz", 2, 2, 2, 20)
    image(tmp_path / "sub-01/ses-2/perf/sub-01_ses-2_asl.nii.gz", 2, 2, 2, 20)
    image(tmp_path / "sub-01/ses-2/func/sub-01_ses-2_task-rest_bold.nii.gz", 2, 2, 2, 20)
    image(tmp_path / "derivatives/x/sub-01/perf/sub-01_dsc.nii.gz", 2, 2, 2, 20)
    found = discover(tmp_path)
    (case,) = found.cases
    assert (case.name, case.label, case.entities) == ("01_ses-2_run-1", "01", (("ses", "2"), ("run", "1")))
    reasons = {Path(entry.path).name: entry.reason for entry in found.left_out}
    assert "not DSC" in reasons["sub-01_ses-2_asl.nii.gz"]
    assert "func" in reasons["sub-01_ses-2_task-rest_bold.nii.gz"]
    assert "derivatives" in reasons["sub-01_dsc.nii.gz"]


def test_a_glob_names_cases_by_what_lies_behind_its_fixed_part(tmp_path: Path) -> None:
    for number in range(3):
        image(tmp_path / f"p{number}" / "dsc.nii.gz", 2, 2, 2, 20)
    assert names(tmp_path / "p[01]" / "*.nii.gz") == ["p0", "p1"]
    assert names(tmp_path / "p[01]") == ["p0", "p1"]
    assert not is_single(tmp_path / "*.nii.gz", tmp_path)
    assert is_single(tmp_path / "p0" / "dsc.nii.gz", tmp_path)


def test_results_that_lie_in_the_input_are_no_input(tmp_path: Path) -> None:
    image(tmp_path / "a.nii", 2, 2, 2, 20)
    image(tmp_path / "out" / "b.nii", 2, 2, 2, 20)
    assert names(tmp_path, output=tmp_path / "out") == ["a"]


def test_a_frozen_list_gives_the_same_cases_from_anywhere(tmp_path: Path) -> None:
    image(tmp_path / "a" / "dsc.nii.gz", 2, 2, 2, 20)
    image(tmp_path / "sub-b_ses-1_dsc.nii.gz", 2, 2, 2, 20)
    found = discover(tmp_path)
    write_study_list(as_study_list(found), tmp_path / "elsewhere" / "cases.csv")
    again = discover(tmp_path / "elsewhere" / "cases.csv")
    assert again.cases == found.cases
    assert again.fingerprint == found.fingerprint


def test_a_study_list_brings_mask_and_times_of_each_case(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        "patient,series,mask,time_step,flip_angle,remark\n"
        "x,a/dsc.nii.gz,a/brain.nii.gz,1.5,35,late\ny,b/dsc.nii.gz,,,,\n"
    )
    first, second = discover(tmp_path / "list.csv").cases
    assert (first.name, first.path, first.mask) == (
        "x",
        tmp_path / "a/dsc.nii.gz",
        tmp_path / "a/brain.nii.gz",
    )
    of_all = Protocol(time_step=2.0, echo_time=0.03, flip_angle=90.0)
    assert first.protocol.over(of_all) == Protocol(1.5, None, 0.03, flip_angle=35.0)
    assert second.protocol == Protocol()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("case,file\na,b\n", "line 2"),
        ("series,time_step\na.nii,fast\n", "time_step"),
        ("series,time_step\na.nii,-1\n", "time_step"),
        ("series\n", "no case"),
        ('series\n"a', "CSV"),
    ],
)
def test_a_list_that_says_no_series_or_no_time_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        discover(tmp_path / "list.csv")


def test_a_column_that_looks_like_a_slip_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.nii").touch()
    text = "patient,patient_id,series,time_stp,age,mask\np1,7,a.nii,3.0,54,\n"
    (tmp_path / "list.csv").write_text(text)
    with pytest.warns(PerfmapWarning, match="column 'time_stp' is passed over.*'time_step'") as said:
        (case,) = discover(tmp_path / "list.csv").cases
    assert len(said) == 1
    assert case.protocol.time_step is None


def test_two_cases_never_share_a_name_or_an_output(tmp_path: Path) -> None:
    for name in ("a-b.nii", "ab.nii.gz", "ab/dsc.nii", "ab/dsc.nii.gz"):
        image(tmp_path / name, 2, 2, 2, 20)
    cases = discover(tmp_path).cases
    assert len({case.name for case in cases}) == len({(case.label, case.entities) for case in cases}) == 4


def test_shards_share_the_list_without_gap_or_overlap(tmp_path: Path) -> None:
    for number in range(7):
        image(tmp_path / f"{number}.nii", 1, 1, 1, 20)
    found = discover(tmp_path)
    parts = [found.shard(index, 3).cases for index in (1, 2, 3)]
    assert sorted(case.name for part in parts for case in part) == [case.name for case in found.cases]
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_masks_are_paired_by_name_and_one_mask_is_not_spread_over_many(tmp_path: Path) -> None:
    for name in ("a", "b"):
        image(tmp_path / "in" / name / "dsc.nii.gz", 2, 2, 2, 20)
    image(tmp_path / "masks" / "a_mask.nii.gz", 2, 2, 2)
    first, second = discover(tmp_path / "in", masks=tmp_path / "masks").cases
    assert first.mask == tmp_path / "masks" / "a_mask.nii.gz"
    assert second.mask is None
    with pytest.raises(ConfigError, match="folder of masks"):
        discover(tmp_path / "in", masks=tmp_path / "masks" / "a_mask.nii.gz")


def test_an_input_without_a_case_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        discover(tmp_path / "none")
    with pytest.raises(InputError, match="check the path"):
        discover(tmp_path)
    image(tmp_path / "a.nii", 2, 2, 2)
    with pytest.raises(InputError, match=r"a\.nii as 3D"):
        discover(tmp_path)
