"""Every refusal of ``perfmap predict``: exit code, one line that helps, and nothing written."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from perfmap.cli import run
from perfmap.io.nifti import write_series, write_volume
from perfmap.models import build_network
from perfmap.models.card import InputContract
from perfmap.models.checkpoint import save_checkpoint
from perfmap.series import Series, Volume
from tests.heads import head_series
from tests.models.test_checkpoint import card_fields

NAN = np.float32("nan")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights: refusals do not depend on what it has learnt."""
    torch.manual_seed(0)
    arguments = {"n_times": 45, "widths": [4, 4, 8, 8, 8]}
    fields = {**card_fields(), "arguments": arguments, "inputs": InputContract(matrix=32)}
    folder = tmp_path_factory.mktemp("model") / "small"
    save_checkpoint(folder, build_network("unet-gru", **arguments).state_dict(), fields, half=False)
    return folder


@pytest.fixture(scope="module")
def head() -> Series:
    return head_series(shape=(32, 32, 3), n_times=40)[0]


@pytest.fixture
def place(tmp_path: Path, head: Series) -> Path:
    """A folder with a series that is accepted."""
    write_series(head, tmp_path / "dsc.nii.gz")
    return tmp_path


@pytest.fixture
def predict(model: Path) -> Callable[..., int]:
    def run_predict(series: Path, output: Path, *options: str, model: Path = model) -> int:
        return run(
            ["predict", str(series), "-o", str(output), "--model", str(model), "--threads", "1", *options]
        )

    return run_predict


@pytest.fixture
def refused(predict: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run on a series that is to be refused; give the line said."""

    def run_refused(
        series: Path, *options: str, output: Path | None = None, code: int = 3, **kwargs: Path
    ) -> str:
        folder = series.parent if series.parent.is_dir() else None
        before = snapshot(folder)
        assert predict(series, output or series.parent / "map.nii.gz", *options, **kwargs) == code
        out, err = capsys.readouterr()
        assert snapshot(folder) == before
        assert out == ""
        lines = [line for line in err.splitlines() if not line.startswith("perfmap: warning: ")]
        assert len(lines) == 1
        assert lines[0].startswith("perfmap: error: ")
        return lines[0]

    return run_refused


def snapshot(folder: Path | None) -> dict[str, bytes]:
    if folder is None:
        return {}
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def rewrite(place: Path, head: Series, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    path = place / "dsc.nii.gz"
    signal = change(head.signal.copy()).astype(np.float32)
    write_series(dataclasses.replace(head, signal=signal), path, overwrite=True)
    return path


def test_the_series_that_is_varied_here_is_accepted(
    place: Path, predict: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(place / "dsc.nii.gz", place / "map.nii.gz") == 0
    out, err = capsys.readouterr()
    assert out == f"{place / 'map.nii.gz'}\n"
    # A network with random weights contradicts the integral: the gate says so, and nothing else is wrong.
    assert [line.split(": ")[2] for line in err.splitlines()] == ["quality FAIL map_agreement"]
    assert sorted(path.name for path in place.iterdir()) == ["dsc.nii.gz", "map.json", "map.nii.gz"]


@pytest.mark.parametrize("shape", [(32, 32, 3), (32, 32, 120), (32, 32, 3, 40, 1), (32, 32, 3, 20, 2)])
def test_not_exactly_4d(place: Path, refused: Callable[..., str], shape: tuple[int, ...]) -> None:
    nib.save(nib.Nifti1Image(np.ones(shape, np.int16), np.eye(4)), place / "dsc.nii.gz")
    line = refused(place / "dsc.nii.gz", "--time-step", "1.5")
    assert str(shape) in line
    assert "4 axes" in line


@pytest.mark.parametrize("n_times", [1, 19])
def test_fewer_than_20_volumes(place: Path, head: Series, refused: Callable[..., str], n_times: int) -> None:
    line = refused(rewrite(place, head, lambda signal: signal[..., :n_times]))
    assert f"{n_times} volumes" in line
    assert "at least 20" in line


@pytest.mark.parametrize("option", ["0", "-1.5", "nan", "1500"])
def test_time_step_that_is_none(place: Path, refused: Callable[..., str], option: str) -> None:
    assert "--time-step" in refused(place / "dsc.nii.gz", f"--time-step={option}")


@pytest.mark.parametrize("step", [0.0, -1.5, np.nan])
def test_header_whose_time_step_is_none(place: Path, refused: Callable[..., str], step: float) -> None:
    data = bytearray(gzip.decompress((place / "dsc.nii.gz").read_bytes()))
    data[92:96] = np.array(step, "<f4").tobytes()
    (place / "dsc.nii.gz").write_bytes(gzip.compress(bytes(data)))
    line = refused(place / "dsc.nii.gz")
    assert f"{step:g} s, wanted a positive number" in line
    assert "--time-step" in line


def test_header_and_sidecar_that_disagree(place: Path, refused: Callable[..., str]) -> None:
    (place / "dsc.json").write_text(json.dumps({"RepetitionTime": 2.0}))
    line = refused(place / "dsc.nii.gz")
    for said in ("1.5", "2 s", "--time-step"):
        assert said in line


def test_no_time_at_all(place: Path, head: Series, refused: Callable[..., str]) -> None:
    nib.save(nib.Nifti1Image(head.signal, head.affine), place / "dsc.nii.gz")
    line = refused(place / "dsc.nii.gz")
    assert "unknown" in line
    assert "--time-step" in line


def test_sidecar_that_is_no_json(place: Path, refused: Callable[..., str]) -> None:
    (place / "dsc.json").write_text("{")
    assert "dsc.json" in refused(place / "dsc.nii.gz")


def test_no_bolus(place: Path, head: Series, refused: Callable[..., str]) -> None:
    def flatten(signal: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng(0).normal(0, 3, signal.shape)
        return signal[..., :1] + noise

    assert "no bolus" in refused(rewrite(place, head, flatten))


def test_contrast_that_brightens_is_no_bolus(place: Path, head: Series, refused: Callable[..., str]) -> None:
    """A T1-weighted (DCE) series: the signal rises."""
    assert "no bolus" in refused(rewrite(place, head, lambda signal: 2 * signal[..., :1] - signal + 1))


def brain_of(head: Series) -> np.ndarray:
    return head.signal[..., 0] > 0.3 * head.signal[..., 0].max()


def spoil(
    head: Series, share: float, *, scattered: bool, value: np.float32
) -> Callable[[np.ndarray], np.ndarray]:
    """Make a share of the brain's voxels not finite at one time."""

    def change(signal: np.ndarray) -> np.ndarray:
        brain = np.argwhere(brain_of(head))
        if scattered:
            np.random.default_rng(0).shuffle(brain)
        for x, y, z in brain[: round(share * len(brain))]:
            signal[x, y, z, 17] = value
        return signal

    return change


@pytest.mark.parametrize("scattered", [True, False])
@pytest.mark.parametrize("value", [NAN, np.float32("inf")])
def test_more_than_one_per_cent_of_the_brain_not_finite(
    place: Path, head: Series, refused: Callable[..., str], value: np.float32, scattered: bool
) -> None:
    assert "not finite" in refused(rewrite(place, head, spoil(head, 0.04, scattered=scattered, value=value)))


def test_a_few_voxels_not_finite_are_a_warning_and_have_no_reading(
    place: Path, head: Series, predict: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = rewrite(place, head, spoil(head, 0.004, scattered=True, value=NAN))
    assert predict(path, place / "map.nii.gz", "--nan", "--validity") == 0
    err = capsys.readouterr().err
    assert err.startswith("perfmap: warning: ")
    assert "not finite" in err
    spoilt = np.isnan(nib.load(path).get_fdata()).any(axis=-1)
    assert np.isnan(nib.load(place / "map.nii.gz").get_fdata()[spoilt]).all()
    assert (np.asanyarray(nib.load(place / "map_validity.nii.gz").dataobj)[spoilt] != 1).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (np.zeros_like, "constant or empty"),
        (lambda signal: np.full_like(signal, 7), "constant or empty"),
        (lambda signal: -signal, "positive"),
        (lambda signal: np.full_like(signal, NAN), "finite"),
    ],
    ids=["empty", "constant", "negative", "not finite"],
)
def test_series_without_signal(
    place: Path, head: Series, refused: Callable[..., str], change: Callable[..., np.ndarray], said: str
) -> None:
    assert said in refused(rewrite(place, head, change))


@pytest.mark.parametrize("keep", [0.5, 0.98, 0.01])
def test_truncated_gzip(place: Path, refused: Callable[..., str], keep: float) -> None:
    path = place / "dsc.nii.gz"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    line = refused(path)
    assert "truncated" in line
    assert "dsc.nii.gz" in line


def test_corrupt_gzip(place: Path, refused: Callable[..., str]) -> None:
    path = place / "dsc.nii.gz"
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(255 - byte for byte in data[middle : middle + 64])
    path.write_bytes(data)
    assert "damaged" in refused(path)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", "is empty"),
        (gzip.compress(b""), "is empty"),
        (b"not an image\n" * 100, "not a NIfTI file"),
        (bytes(1000), "not a NIfTI file"),
        (gzip.compress(b"text" * 500), "not a NIfTI file"),
    ],
    ids=["empty", "gzipped nothing", "text", "zeros", "gzipped text"],
)
def test_not_nifti(place: Path, refused: Callable[..., str], content: bytes, wanted: str) -> None:
    (place / "dsc.nii.gz").write_bytes(content)
    assert wanted in refused(place / "dsc.nii.gz")


def test_missing_file_and_folder(place: Path, refused: Callable[..., str]) -> None:
    assert "does not exist" in refused(place / "none.nii.gz")
    (place / "folder").mkdir()
    assert "folder" in refused(place / "folder")


@pytest.mark.parametrize("output", ["/proc/map.nii.gz", "/dev/null/maps/map.nii.gz", "/dev/null"])
def test_unwritable_output(place: Path, refused: Callable[..., str], output: str) -> None:
    assert "cannot write" in refused(place / "dsc.nii.gz", output=Path(output))


def test_output_folder_that_is_a_file(place: Path, refused: Callable[..., str]) -> None:
    (place / "taken").write_bytes(b"")
    assert "cannot write" in refused(place / "dsc.nii.gz", output=place / "taken")


def test_output_equal_to_an_input(place: Path, head: Series, refused: Callable[..., str]) -> None:
    path = place / "dsc.nii.gz"
    assert "also an input" in refused(path, "--overwrite", output=path)
    (place / "link.nii.gz").symlink_to(path)
    assert "also an input" in refused(path, "--overwrite", output=place / "link.nii.gz")
    write_volume(Volume(brain_of(head), head.affine), place / "mask.nii.gz", grid=None, dtype=np.uint8)
    mask = str(place / "mask.nii.gz")
    assert "also an input" in refused(path, "--overwrite", "--mask", mask, output=place / "mask.nii.gz")
    (place / "dsc.json").write_text("{}")
    assert "also an input" in refused(
        path, "--overwrite", output=place / "dsc.nii"
    )  # its sidecar is dsc.json


def test_existing_output_is_kept(
    place: Path, predict: Callable[..., int], refused: Callable[..., str]
) -> None:
    (place / "map.nii.gz").write_bytes(b"precious")
    assert "--overwrite" in refused(place / "dsc.nii.gz", code=2)
    assert predict(place / "dsc.nii.gz", place / "map.nii.gz", "--overwrite") == 0
    assert nib.load(place / "map.nii.gz").shape == (32, 32, 3)


def test_broken_affine(place: Path, refused: Callable[..., str]) -> None:
    data = bytearray(gzip.decompress((place / "dsc.nii.gz").read_bytes()))
    data[280:296] = bytes(16)  # srow_x
    (place / "dsc.nii.gz").write_bytes(gzip.compress(bytes(data)))
    assert "affine" in refused(place / "dsc.nii.gz")


def test_mask_that_does_not_belong(place: Path, head: Series, refused: Callable[..., str]) -> None:
    path, mask = place / "dsc.nii.gz", place / "mask.nii.gz"
    write_volume(Volume(np.ones((32, 32, 4)), head.affine), mask, grid=None)
    assert "(32, 32, 4)" in refused(path, "--mask", str(mask))
    write_volume(
        Volume(np.ones((32, 32, 3)), head.affine @ np.diag([1.1, 1, 1, 1])), mask, grid=None, overwrite=True
    )
    assert "affine" in refused(path, "--mask", str(mask))
    write_volume(Volume(np.zeros((32, 32, 3)), head.affine), mask, grid=None, overwrite=True)
    assert "empty" in refused(path, "--mask", str(mask))
    assert "does not exist" in refused(path, "--mask", str(place / "none.nii"))


def test_unknown_or_damaged_model_is_exit_6(
    place: Path, model: Path, tmp_path_factory: pytest.TempPathFactory, refused: Callable[..., str]
) -> None:
    assert "no-such-model" in refused(place / "dsc.nii.gz", code=6, model=Path("no-such-model"))
    broken = tmp_path_factory.mktemp("broken")
    for file in model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes()[:-10])
    refused(place / "dsc.nii.gz", code=6, model=broken)
    (broken / "card.json").write_bytes((model / "card.json").read_bytes())
    refused(
        place / "dsc.nii.gz", code=6, model=broken
    )  # the card is whole, the weights are not those it names


# What benchmarks/fuzz.py found, each once an endless wait or an internal error.


@pytest.mark.parametrize("number", ["9" * 400, "1e999", "-" + "9" * 400])
@pytest.mark.parametrize("key", ["EchoTime", "RepetitionTimeExcitation", "FlipAngle"])
def test_number_beyond_all_floats_in_a_sidecar_is_passed_over(
    place: Path, predict: Callable[..., int], key: str, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "dsc.json").write_text(f'{{"{key}": {number}}}')
    assert predict(place / "dsc.nii.gz", place / "map.nii.gz") == 0
    assert key in capsys.readouterr().err


@pytest.mark.parametrize("option", ["1e-45", "1e-3", "0.04"])
def test_interval_that_is_none(place: Path, refused: Callable[..., str], option: str) -> None:
    assert "--time-step" in refused(place / "dsc.nii.gz", f"--time-step={option}")


@pytest.mark.parametrize("option", ["--flip-angle=0", "--flip-angle=270", "--field-strength=3000"])
def test_protocol_that_is_none(place: Path, refused: Callable[..., str], option: str) -> None:
    assert option.partition("=")[0] in refused(place / "dsc.nii.gz", option)


def test_protocol_that_is_told_or_read_stands_in_the_sidecar(
    place: Path, predict: Callable[..., int]
) -> None:
    (place / "dsc.json").write_text(json.dumps({"FlipAngle": 90, "MagneticFieldStrength": 1.5}))
    assert predict(place / "dsc.nii.gz", place / "map.nii.gz", "--flip-angle=35") == 0
    found = json.loads((place / "map.json").read_text())["Input"]
    assert (found["flip_angle_deg"], found["field_strength_t"]) == (35.0, 1.5)


@pytest.mark.parametrize("code", [219, -3])
def test_space_code_that_the_standard_does_not_know_is_kept(
    place: Path, predict: Callable[..., int], code: int
) -> None:
    data = bytearray(gzip.decompress((place / "dsc.nii.gz").read_bytes()))
    data[254:256] = np.array(code, "<i2").tobytes()  # sform_code
    (place / "dsc.nii.gz").write_bytes(gzip.compress(bytes(data)))
    assert predict(place / "dsc.nii.gz", place / "map.nii.gz") == 0
    written = gzip.decompress((place / "map.nii.gz").read_bytes())
    assert written[254:256] == data[254:256]
    assert written[280:328] == data[280:328]


def test_a_picture_of_another_kind_than_png(place: Path, refused: Callable[..., str]) -> None:
    line = refused(place / "dsc.nii.gz", "--figure", str(place / "map.jpg"), code=2)
    assert "ends in .png" in line


def test_a_folder_in_the_place_of_a_file(place: Path, refused: Callable[..., str]) -> None:
    (place / "empty").mkdir()
    line = refused(place / "empty", output=place / "map.nii.gz")
    assert "without DICOM" in line
    assert "--output" in line
    assert "--mask" in refused(place / "dsc.nii.gz", "--mask", str(place / "empty"))


@pytest.mark.parametrize("name", ["cbv.txt", "cbv.nrrd", "cbv.nii.zip", "cbv.gz"])
def test_an_output_of_another_kind_is_refused_and_makes_no_folder(
    name: str, predict: Callable[..., int], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(place / "dsc.nii.gz", place / name) == 2
    assert f"{name} is neither a NIfTI file nor a folder" in capsys.readouterr().err
    assert not (place / name).exists()


@pytest.mark.parametrize(
    ("option", "name", "said"),
    [
        ("--log-file", "dsc.nii.gz", "named like an image"),
        ("--log-file", "dsc.json", "the sidecar of dsc.nii.gz"),
        ("--report", "dsc.json", "the sidecar of dsc.nii.gz"),
        ("--report", "dsc.nii.gz", "named like an image"),
        ("--json", "map.json", "the sidecar of map.nii.gz"),
        ("--json", "other.nii", "named like an image"),
    ],
)
def test_no_report_or_log_takes_the_place_of_an_image_or_its_sidecar(
    place: Path, refused: Callable[..., str], option: str, name: str, said: str
) -> None:
    (place / "dsc.json").write_text(json.dumps({"RepetitionTime": 1.5}))
    line = refused(place / "dsc.nii.gz", option, str(place / name), "--overwrite", code=2)
    assert said in line


@pytest.mark.parametrize("name", ["map_sd.nii.gz", "map_validity.nii"])
def test_a_map_is_not_named_like_what_lies_beside_one(
    place: Path, predict: Callable[..., int], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert predict(place / "dsc.nii.gz", place / name) == 2
    assert "is named like what is written beside a map" in capsys.readouterr().err


def test_two_outputs_of_one_run_are_not_the_same_file(place: Path, refused: Callable[..., str]) -> None:
    one = str(place / "page.html")
    assert "named for two outputs" in refused(
        place / "dsc.nii.gz", "--report", one, "--json", one, "--overwrite", code=2
    )


def test_no_result_of_a_region_or_a_score_takes_the_place_of_a_map(
    place: Path, head: Series, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = Volume(np.ones(head.signal.shape[:3], dtype=np.float32), head.affine)
    for name in ("map", "mask"):
        write_volume(mask, place / f"{name}.nii.gz", grid=None)
    chart, region = str(place / "map.nii.gz"), str(place / "mask.nii.gz")
    before = snapshot(place)
    for command in (
        ["roi", chart, "--mask", region, "--json", chart, "--overwrite"],
        ["roi", chart, "--mask", region, "--json", str(place / "map.json"), "--overwrite"],
        ["score", chart, region, "--csv", region, "--overwrite"],
    ):
        assert run(command) == 2
        assert "perfmap: error: " in capsys.readouterr().err
        assert snapshot(place) == before


@pytest.mark.parametrize("name", ["all.json", "all.nii.gz"])
def test_a_batch_refuses_its_json_before_it_begins(
    place: Path, predict: Callable[..., int], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (place / name).write_text("kept")
    assert predict(place / "*.nii.gz", place / "maps", "--json", str(place / name)) == 2
    assert "perfmap: error: " in capsys.readouterr().err
    assert not (place / "maps").exists()
    assert (place / name).read_text() == "kept"
