"""A DICOM export on the command line: a map comes out, and nothing names the patient."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from perfmap.cli import run
from tests.dicom_factory import SECRETS, Scan, oblique_affine, write_classic
from tests.heads import head_series
from tests.studies import save_small_model

SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "LOVELACE_ADA_PID4711"
    signal = head_series(shape=SHAPE, n_times=40)[0].signal
    scan = Scan(signal, oblique_affine(SHAPE, angles=(5.0, 3.0, 0.0)), description="DSC Lovelace")
    write_classic(scan, folder / "ACC0815" / "s5", suffix="")
    return folder


def test_an_archive_gives_a_map_and_no_name(
    export: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "PID4711"), "zip", export))
    out = tmp_path / "out"
    arguments = ["predict", str(archive), "-o", str(out), "--json", "-", "--verbose", "--threads", "1"]
    arguments += ["--log-file", str(out / "log.txt"), "--report", str(out / "reports")]
    code = run([*arguments, "--dicom", str(out / "dicom"), "--dicom-form", "mr"])
    told = capfd.readouterr()
    assert code == 0, told.err
    case = json.loads(told.out)["cases"][0]
    assert case["case"].startswith("case-")
    assert case["input"] == "export#5"
    sidecar = json.loads((out / case["output"].replace(".nii.gz", ".json")).read_text("utf-8"))
    assert sidecar["Origin"]["n_objects"] == 120
    files = [path for path in out.rglob("*") if path.is_file()]
    images = [path for path in files if path.suffix == ".dcm"]  # these carry their patient, and must
    assert len(images) == 2 * SHAPE[2]
    assert all(SECRETS[2].encode() in path.read_bytes() for path in images)
    written = "".join(str(path.relative_to(out)) for path in files)
    written += "".join(path.read_bytes().decode("latin-1") for path in files if path not in images)
    for secret in SECRETS:
        if secret != "Ada":  # three letters that any picture may hold
            assert secret.lower() not in (told.out + told.err + written).lower()


def test_a_refusal_names_no_path_of_the_export(
    export: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "LOVELACE"
    shutil.copytree(export / "ACC0815", folder)
    sorted((folder / "s5").iterdir())[40].unlink()
    assert run(["predict", str(folder), "-o", str(tmp_path / "out" / "map.nii.gz"), "--verbose"]) == 3
    told = capfd.readouterr()
    assert "slices are missing: volume 14 holds 2 of 3" in told.err
    assert "lovelace" not in told.err.lower().replace(str(tmp_path).lower(), "")
    assert not (tmp_path / "out").exists()


def test_inspect_says_why(export: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(export), "--json", "-"]) == 0
    told = capfd.readouterr().out
    found = json.loads(told)
    assert found["series"][0]["taken"]
    assert found["cases"][0]["time_axis_verified"]
    assert not any(secret.lower() in told.lower() for secret in SECRETS)
    assert run(["inspect", str(export)]) == 0
    table = capfd.readouterr().out
    assert "Research use only" in table
    assert "lovelace" not in table.lower()
    assert run(["inspect", str(export), "--keep-phi", "--json", "-"]) == 0
    assert "PID4711" in capfd.readouterr().out


def test_an_export_that_still_arrives_is_left_for_the_next_run(
    export: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "arriving"
    shutil.copytree(export, folder)  # keeps the times of the files
    next(path for path in folder.rglob("*") if path.is_file()).touch()
    arguments = ["predict", str(folder), "-o", str(tmp_path / "out"), "--json", "-", "--quiet"]
    assert run([*arguments, "--quiet-period", "3600"]) == 4
    (case,) = json.loads(capfd.readouterr().out)["cases"]
    assert case["status"] == "incomplete"
    assert "still arriving" in case["reason"]
    assert not list((tmp_path / "out").rglob("*.nii.gz"))


@pytest.fixture(scope="module")
def two_boluses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preload of half the dose and then the bolus, in one DICOM series."""
    single = head_series(shape=SHAPE, n_times=45)[0].signal
    preload = head_series(shape=SHAPE, n_times=40, arrival=15.0, seed=4)[0].signal
    level = preload[..., :6].mean(axis=-1, keepdims=True)
    signal = np.concatenate([level * np.sqrt(preload / level), single], axis=-1)
    folder = tmp_path_factory.mktemp("preload")
    write_classic(Scan(signal, oblique_affine(SHAPE)), folder)
    return folder


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "small")


@pytest.mark.parametrize(("option", "read"), [([], 2), (["--bolus", "1"], 1), (["--bolus", "2"], 2)])
def test_bolus_option_is_heard_for_dicom(
    two_boluses: Path, small_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    option: list[str], read: int,
) -> None:  # fmt: skip
    arguments = ["predict", str(two_boluses), "-o", str(tmp_path / "map.nii.gz"), "--json", "-", "--quiet"]
    assert run([*arguments, "--model", str(small_model), *option]) == 0
    sidecar = json.loads(capfd.readouterr().out)["sidecar"]
    assert sidecar["Found"]["boluses"]["read"] == read
    assert any(f"the map is that of bolus {read}" in note for note in sidecar["Notes"])


@pytest.mark.parametrize(("option", "read"), [([], 2), (["--bolus", "1"], 1)])
def test_inspect_looks_at_the_bolus_that_predict_would_read(
    two_boluses: Path, capfd: pytest.CaptureFixture[str], option: list[str], read: int
) -> None:
    assert run(["inspect", str(two_boluses), "--json", "-", "--quiet", *option]) == 0
    (case,) = json.loads(capfd.readouterr().out)["cases"]
    assert case["quality"]["boluses"]["read"] == read
    assert "2 boluses" in " ".join(case["quality"]["notes"])


def test_a_bolus_that_is_not_there_is_refused(
    two_boluses: Path, small_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["predict", str(two_boluses), "-o", str(tmp_path / "map.nii.gz"), "--model", str(small_model)]
    assert run([*arguments, "--bolus", "3"]) == 3
    assert "--bolus is 3" in capfd.readouterr().err
    assert not (tmp_path / "map.nii.gz").exists()
    assert run(["inspect", str(two_boluses), "--json", "-", "--quiet", "--bolus", "3"]) == 0
    (case,) = json.loads(capfd.readouterr().out)["cases"]
    assert case["quality"]["status"] == "FAIL"
    assert "--bolus is 3" in case["quality"]["reasons"][0]


def test_inspect_of_what_is_no_series_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "note.txt").write_text("nothing")
    assert run(["inspect", str(tmp_path)]) == 3
    assert run(["inspect", str(tmp_path / "missing")]) == 3
    assert "does not exist" in capfd.readouterr().err
