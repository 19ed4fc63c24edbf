"""``perfmap predict --dicom``: what is refused before any work is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfmap.cli import run


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--dicom", "out"], 3, "the input is NIfTI"),
        (["--dicom-form", "mr"], 2, "needs --dicom"),
        (["--dicom", "out", "--dicom-form", "seg"], 2, "wanted some of mr,sc,pm"),
    ],
)
def test_refusals_come_at_once_in_one_line(
    options: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dsc.nii.gz").write_bytes(b"never read")
    assert run(["predict", "dsc.nii.gz", "-o", "map.nii.gz", *options]) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dsc.nii.gz"]


def test_maps_are_not_written_into_the_export_they_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "export").mkdir()
    arguments = ["predict", str(tmp_path / "export"), "-o", str(tmp_path / "map.nii.gz")]
    assert run([*arguments, "--dicom", str(tmp_path / "export" / "maps")]) == 3
    assert "inside of the input folder" in capsys.readouterr().err


def test_forms_that_exist_are_not_replaced_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "out" / "sc").mkdir(parents=True)
    arguments = ["predict", str(tmp_path / "export"), "-o", str(tmp_path / "map.nii.gz")]
    assert run([*arguments, "--dicom", str(tmp_path / "out")]) == 2
    assert "--overwrite" in capsys.readouterr().err
