"""``perfmap conventional`` from a file to maps with sidecars, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from perfmap.cli import run

SHAPE = (32, 36, 6)
N_TIMES = 45


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series in LAS order, masks of brain, white matter and arteries on its grid, and an arterial curve."""
    path = tmp_path_factory.mktemp("conventional")
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    brain = (x / 0.8) ** 2 + (y / 0.85) ** 2 + (z / 1.6) ** 2 < 1
    white = (x / 0.4) ** 2 + (y / 0.5) ** 2 + (z / 1.6) ** 2 < 1
    since = np.maximum(np.arange(N_TIMES) - 12, 0)
    bolus = (since / 4) ** 3 * np.exp(3 * (1 - since / 4)) + 0.1 * (since > 9)
    amount = np.where(white, 6.0, 13.0)
    artery = brain & ~white & (x > 0.7)
    amount = np.where(artery, 45.0, amount)
    signal = np.where(brain[..., None], 700 * np.exp(-0.03 * amount[..., None] * bolus), 5)
    signal = signal + np.random.default_rng(1).normal(0, 3, signal.shape)
    affine = np.array([[-6.0, 0, 0, 90], [0, 6.0, 0, -100], [0, 0, 7.0, -20], [0, 0, 0, 1]])
    image = nib.Nifti1Image(np.maximum(signal, 0).astype(np.int16), affine)
    image.header.set_zooms((6, 6, 7, 1.5))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path / "dsc.nii.gz")
    (path / "dsc.json").write_text(json.dumps({"RepetitionTime": 1.5, "EchoTime": 0.03}))
    for name, mask in (("mask", brain), ("white", white), ("artery", artery)):
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), path / f"{name}.nii.gz")
    (path / "aif.txt").write_text("\n".join(f"{value:.5f}" for value in 300 * bolus))
    return path


def conventional(folder: Path, *arguments: str) -> int:
    return run(["conventional", str(folder / "dsc.nii.gz"), *arguments, "--motion-correction", "off"])


def test_default_maps_on_the_grid_of_the_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "default"
    assert conventional(folder, "-o", str(out), "--nawm", str(folder / "white.nii.gz"), "-q") == 0
    assert {path.name for path in out.iterdir()} == {"nrcbv.nii.gz", "nrcbv.json", "rcbv.nii.gz", "rcbv.json"}
    series, image = nib.load(folder / "dsc.nii.gz"), nib.load(out / "nrcbv.nii.gz")
    np.testing.assert_array_equal(image.affine, series.affine)
    values, white = image.get_fdata(), nib.load(folder / "white.nii.gz").get_fdata() > 0
    assert values[white].mean() == pytest.approx(1, abs=0.01)
    grey = (values > 0.5) & ~white & (values < 4)
    assert np.median(values[grey]) == pytest.approx(13 / 6, rel=0.03)
    sidecar = json.loads((out / "nrcbv.json").read_text())
    assert sidecar["Quantity"] == "nrcbv"
    assert sidecar["Method"] == "firstpass"
    assert sidecar["Settings"]["window"] == "first-pass"
    assert "Research use only" in sidecar["Warning"]
    assert str(folder) not in json.dumps(sidecar)
    assert capsys.readouterr().out == ""


def test_flow_from_a_mask_and_from_a_curve(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, aif in (("by_mask", "artery.nii.gz"), ("by_curve", "aif.txt")):
        out = folder / name
        code = conventional(
            folder, "-o", str(out), "--method", "csvd", "--maps", "cbv,cbf,mtt,tmax", "--aif", str(folder / aif),
            "--mask", str(folder / "mask.nii.gz"),
        )  # fmt: skip
        assert code == 0
        assert len(capsys.readouterr().out.splitlines()) == 4
        sidecar = json.loads((out / "cbf.json").read_text())
        assert sidecar["Units"] == "ml/100 ml/min"
        assert any("relaxivity" in note for note in sidecar["Notes"])
        assert set(sidecar["Input"]["other_files_sha256"]) == {"aif", "mask"}
    volume = nib.load(folder / "by_curve" / "cbv.nii.gz").get_fdata()
    white = nib.load(folder / "white.nii.gz").get_fdata() > 0
    assert np.median(volume[white]) == pytest.approx(100 * 0.733 * 6 / 300, rel=0.03)


def test_equal_runs_write_equal_bytes(folder: Path) -> None:
    for name in ("once", "twice"):
        assert conventional(folder, "-o", str(folder / name), "--method", "osvd", "--maps", "cbf", "-q") == 0
    for name in ("cbf.nii.gz", "cbf.json"):
        assert (folder / "once" / name).read_bytes() == (folder / "twice" / name).read_bytes()


def test_manifest_names_every_map(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "captk"
    assert conventional(folder, "-o", str(out), "--method", "captk", "--json", "-", "-q") == 0
    manifest = json.loads(capsys.readouterr().out)
    assert set(manifest["Maps"]) == {"ap_rcbv", "psr", "ph"}
    assert manifest["Settings"]["method"] == "captk"


@pytest.mark.parametrize(
    ("arguments", "code", "seen"),
    [
        (["--method", "magic"], 2, "--method is 'magic'"),
        (["--maps", "cbv"], 2, "wants an arterial input"),
        (["--maps", "k2"], 2, "gives no map k2"),
        (["--method", "dual-echo"], 2, "second echo"),
        (["--motion-correction", "perhaps"], 2, "--motion-correction is 'perhaps'"),
        (["--mask", "nowhere.nii.gz"], 3, "nowhere.nii.gz"),
        (["--maps", "cbv", "--aif", "nowhere.txt"], 3, "nowhere.txt"),
    ],
)
def test_refusals_are_one_line(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    seen: str,
) -> None:
    assert run(["conventional", str(folder / "dsc.nii.gz"), "-o", str(tmp_path / "out"), *arguments]) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1
    assert seen in lines[0]
    assert not (tmp_path / "out").exists()


def test_existing_maps_are_kept_unless_told(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "maps"
    white = ["--nawm", str(folder / "white.nii.gz"), "-q"]
    assert conventional(folder, "-o", str(out), *white) == 0
    before = (out / "rcbv.nii.gz").read_bytes()
    assert conventional(folder, "-o", str(out), *white) == 2
    assert conventional(folder, "-o", str(out), *white, "--overwrite") == 0
    assert (out / "rcbv.nii.gz").read_bytes() == before
    (tmp_path / "file").write_text("x")
    assert conventional(folder, "-o", str(tmp_path / "file"), *white) == 2


def test_an_output_named_like_one_map_makes_no_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "cbv.nii.gz"
    assert conventional(folder, "-o", str(output)) == 2
    assert "conventional writes a folder of maps" in capsys.readouterr().err
    assert not output.exists()
