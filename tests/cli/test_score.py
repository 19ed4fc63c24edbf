"""``perfmap score`` on the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from perfmap.cli import run
from perfmap.io.nifti import write_volume
from perfmap.series import Volume

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two cases that pair, and one file on each side that does not."""
    rng = np.random.default_rng(0)
    for case in ("one", "two", "lonely"):
        reference = rng.gamma(2.0, 1.0, (16, 14, 2)).astype(np.float32)
        prediction = reference + np.float32(0.1)
        prediction[4, 4, 0] = np.nan
        name = "alone" if case == "lonely" else case
        write_volume(Volume(reference, AFFINE), tmp_path / f"ref/{case}/truth_nrcbv.nii.gz", grid=None)
        write_volume(Volume(prediction, AFFINE), tmp_path / f"pred/{name}.nii.gz", grid=None)
    return tmp_path / "pred", tmp_path / "ref"


def test_table_states_convention_cases_and_what_was_left_out(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["score", *map(str, folders)]) == 0
    out = capsys.readouterr().out
    for said in ("99.5th percentile", "clipped to [0, R]", "PSNR", "± SD", "one", "two"):
        assert said in out
    assert "one: 1 voxel (0.22 %) without reading, scored as 0" in out
    assert f"prediction without partner: {folders[0] / 'alone.nii.gz'}" in out
    assert f"reference without partner: {folders[1] / 'lonely' / 'truth_nrcbv.nii.gz'}" in out


def test_json_on_stdout_is_nothing_but_json(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["score", *map(str, folders), "--json", "-"]) == 0
    captured = capsys.readouterr()
    content = json.loads(captured.out)
    assert [case["case"] for case in content["cases"]] == ["one", "two"]
    assert "± SD" in captured.err


def test_files_are_written_and_not_overwritten_unasked(folders: tuple[Path, Path], tmp_path: Path) -> None:
    targets = ["--json", str(tmp_path / "s.json"), "--csv", str(tmp_path / "s.csv")]
    assert run(["score", *map(str, folders), *targets]) == 0
    content = json.loads((tmp_path / "s.json").read_text("utf-8"))
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text("utf-8").splitlines()))
    assert float(rows[0]["psnr"]) == content["cases"][0]["psnr"]
    assert run(["score", *map(str, folders), *targets]) == 2
    assert run(["score", *map(str, folders), *targets, "--overwrite"]) == 0


def test_data_range_option_is_used_and_named(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["score", *map(str, folders), "--data-range", "6", "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["cases"][0]["data_range"] == 6.0
    assert "R: 6 for every case (--data-range)" in captured.err


def test_digits_survive_a_narrow_terminal(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert run(["score", *map(str, folders), "--csv", str(folders[0] / "s.csv")]) == 0
    psnr = float(next(csv.DictReader((folders[0] / "s.csv").read_text("utf-8").splitlines()))["psnr"])
    assert f"{psnr:.2f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere", "REF"], 3, "does not exist"),
        (["PRED/alone.nii.gz", "REF"], 3, "no prediction pairs"),
        (["PRED", "REF", "--quantity", "blood"], 2, "'blood' is unknown"),
        (["PRED", "REF", "--data-range", "-1"], 3, "intensity range is -1"),
        (["PRED", "REF", "--mask", "PRED/one.nii.gz"], 2, "one mask file"),
        (["PRED", "REF", "--csv", "PRED/one.nii.gz"], 2, "named like an image"),
    ],
)
def test_refusals_are_one_line_with_the_exit_code(
    folders: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    filled = [word.replace("PRED", str(folders[0])).replace("REF", str(folders[1])) for word in arguments]
    assert run(["score", *filled]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_grid_mismatch_is_refused(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    shifted = AFFINE.copy()
    shifted[0, 3] = 1.0
    moved = folders[0] / "one.nii.gz"
    write_volume(Volume(np.ones((16, 14, 2), np.float32), shifted), moved, grid=None, overwrite=True)
    assert run(["score", *map(str, folders)]) == 3
    assert "one.nii.gz has an affine that differs by 1 mm" in capsys.readouterr().err
