"""A region's mean and how sure it is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from perfmap.cli import run
from perfmap.engine.predict import PredictConfig
from perfmap.engine.predict_file import predict_file
from perfmap.engine.roi import COVER, read_region, region_reading
from perfmap.errors import ConfigError, InputError
from perfmap.io.nifti import read_volume, write_series, write_volume
from perfmap.models.card import OutputContract, Uncertainty
from perfmap.models.checkpoint import Checkpoint, find_checkpoint, read_card
from perfmap.series import Volume
from tests.heads import head_series

VOXEL = (2.0, 2.0, 5.0)


def reading_of(
    values: np.ndarray, sd: np.ndarray | None, *, length: float = 0.0, mask: np.ndarray | None = None
):
    everywhere = np.ones(values.shape, dtype=bool)
    return region_reading(
        values,
        everywhere if mask is None else mask,
        np.isfinite(values),
        sd,
        voxel_size=VOXEL,
        correlation_length=length,
    )


def half_width(interval: tuple[float, float] | None) -> float:
    assert interval is not None
    return (interval[1] - interval[0]) / 2


def test_independent_voxels_make_a_mean_surer_and_bound_ones_do_not() -> None:
    values, sd = np.full((6, 6, 2), 1.5), np.full((6, 6, 2), 0.3)
    assert half_width(reading_of(values, sd).interval) == pytest.approx(COVER * 0.3 / np.sqrt(72))
    assert half_width(reading_of(values, sd, length=1e4).interval) == pytest.approx(COVER * 0.3, rel=1e-3)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Errors drawn with a known correlation length: a field smoothed by s has correlation exp(−d²/(4 s²))."""
    rng = np.random.default_rng(0)
    s, mask = 1.5, np.zeros((28, 28, 1), dtype=bool)
    mask[9:19, 9:19] = True
    width = half_width(
        reading_of(
            np.ones(mask.shape), np.ones(mask.shape), length=np.sqrt(2) * s * VOXEL[0], mask=mask
        ).interval
    )
    fields = ndimage.gaussian_filter(rng.normal(size=(1500, 28, 28)), (0, s, s), mode="wrap")
    means = (fields / fields.std())[:, mask[..., 0]].mean(axis=1)
    assert np.mean(np.abs(means) <= width) == pytest.approx(0.95, abs=0.02)


def test_shares_and_volume_are_those_of_voxels_with_a_reading() -> None:
    values = np.array([0.5, 1.0, 1.2, 1.75, 2.0, np.nan]).reshape(6, 1, 1)
    reading = reading_of(values, None)
    assert (reading.n_voxels, reading.n_without_reading) == (6, 1)
    assert reading.above == {1.0: 0.6, 1.75: 0.2}
    assert reading.mean == pytest.approx(1.29)
    assert reading.volume_ml == pytest.approx(5 * 20.0 / 1000)
    assert reading.interval is None
    with pytest.raises(InputError, match="no reading"):
        reading_of(np.full((2, 2, 1), np.nan), None)


class Stub(nn.Module):
    """The mean over time, and a standard deviation of 0.1 everywhere."""

    def forward(self, curves: Tensor, valid: Tensor) -> Tensor:
        image = curves.mean(dim=1)
        return torch.stack([image, torch.full_like(image, float(np.log(0.1)))], dim=1)


def stub(uncertainty: Uncertainty | None) -> Checkpoint:
    card = read_card(find_checkpoint("unet-gru"))
    return Checkpoint(card.model_copy(update={"outputs": OutputContract(uncertainty=uncertainty)}), Stub())


@pytest.fixture(scope="module")
def series_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("roi") / "dsc.nii.gz"
    write_series(head_series(shape=(48, 48, 2))[0], path)
    return path


def test_predicted_sd_is_in_the_map_s_unit_and_read_with_the_card_s_length(
    series_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = stub(Uncertainty(sd_factor=1.5, correlation_length_mm=6.0))
    plain = stub(None)
    out, other = tmp_path / "nrcbv.nii.gz", tmp_path / "other.nii.gz"
    config = PredictConfig(device="cpu", motion_correction="off")
    done = predict_file(series_file, out, checkpoint, config, write_uncertainty=True)
    prepared = done.prediction.prepared
    raw = predict_file(series_file, other, plain, config).prediction.maps["nrcbv"].array
    sd, found = read_volume(tmp_path / "nrcbv_sd.nii.gz").array, read_volume(out).array
    assert np.array_equal(found, raw)
    # White matter's level divides both maps: what is left of 0.1 times the factor is the same share everywhere.
    assert np.ptp(sd[prepared.mask]) < 1e-4 * sd[prepared.mask].mean()
    assert (sd[~prepared.mask] == 0).all()
    white = done.prediction.white_matter
    assert white is not None
    assert np.median(found[white.mask]) == pytest.approx(1.0, abs=1e-3)

    mask = np.zeros(found.shape, dtype=np.uint8)
    mask[20:26, 20:26] = 1
    write_volume(Volume(mask, done.series.affine), tmp_path / "mask.nii.gz", grid=None, dtype=np.uint8)
    reading, _ = read_region(out, tmp_path / "mask.nii.gz")
    assert reading.mean == pytest.approx(float(found[mask > 0].mean()))
    assert COVER * sd[prepared.mask].mean() / 6 < half_width(reading.interval) < COVER * sd.max()
    assert run(["roi", str(out), "--mask", str(tmp_path / "mask.nii.gz"), "--json", "-"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["interval"] == pytest.approx(list(reading.interval or ()))
    assert content["quantity"] == "nrcbv"

    reading, _ = read_region(other, tmp_path / "mask.nii.gz")
    assert reading.interval is None
    assert any(
        note.endswith("no interval") for note in reading.notes
    )  # its model gives no standard deviation
    (tmp_path / "nrcbv_sd.nii.gz").unlink()
    reading, _ = read_region(out, tmp_path / "mask.nii.gz")
    assert any(note.endswith("no interval; predict with --uncertainty") for note in reading.notes)


def test_overwriting_a_map_leaves_no_sd_of_the_one_before(series_file: Path, tmp_path: Path) -> None:
    """Else `perfmap roi` would read the interval of a new map from the standard deviation of an old one."""
    out, config = tmp_path / "nrcbv.nii.gz", PredictConfig(device="cpu", motion_correction="off")
    with_sd = stub(Uncertainty(sd_factor=1.5, correlation_length_mm=6.0))
    predict_file(series_file, out, with_sd, config, write_uncertainty=True, write_validity=True)
    predict_file(series_file, out, with_sd, config, overwrite=True)
    assert sorted(path.name for path in tmp_path.glob("*.nii.gz")) == ["nrcbv.nii.gz"]


def test_a_model_without_an_sd_is_not_asked_for_one(series_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no standard deviation"):
        predict_file(series_file, tmp_path / "a.nii.gz", stub(None), PredictConfig(), write_uncertainty=True)
    assert not list(tmp_path.iterdir())


def test_masks_that_do_not_fit_are_refused(
    series_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    write_volume(Volume(np.ones((8, 8, 2), np.float32), affine), tmp_path / "map.nii.gz", grid=None)
    write_volume(Volume(np.ones((9, 8, 2), np.float32), affine), tmp_path / "other.nii.gz", grid=None)
    write_volume(Volume(np.zeros((8, 8, 2), np.float32), affine), tmp_path / "empty.nii.gz", grid=None)
    write_volume(Volume(np.full((8, 8, 2), 0.37, np.float32), affine), tmp_path / "cbv.nii.gz", grid=None)
    for mask in ("other", "empty", "missing", "cbv"):
        assert run(["roi", str(tmp_path / "map.nii.gz"), "--mask", str(tmp_path / f"{mask}.nii.gz")]) == 3
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 4
    assert "holds 0.37; wanted whole numbers" in lines[3]


def test_labels_of_a_mask_are_read_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    affine = np.diag([*VOXEL, 1.0])
    values, labels = np.ones((4, 4, 2), dtype=np.float32), np.zeros((4, 4, 2), dtype=np.int16)
    labels[1], labels[2], labels[3], values[2], values[3] = 1, 2, 4, 3.0, 5.0
    write_volume(Volume(values, affine), tmp_path / "map.nii.gz", grid=None)
    write_volume(Volume(labels, affine), tmp_path / "mask.nii.gz", grid=None)
    paths = tmp_path / "map.nii.gz", tmp_path / "mask.nii.gz"
    joined, _ = read_region(*paths)
    assert joined.mean == pytest.approx(3.0)
    assert any("joins labels 1, 2, 4" in note for note in joined.notes)
    for chosen, mean in (((2,), 3.0), ((2, 4), 4.0)):
        reading, _ = read_region(*paths, labels=chosen)
        assert reading.mean == pytest.approx(mean)
        assert not any("joins" in note for note in reading.notes)
    assert run(["roi", str(paths[0]), "--mask", str(paths[1]), "--label", "3"]) == 3
    assert "has no label 3; it has 1, 2, 4" in capsys.readouterr().err


def test_thresholds_are_of_nrcbv_and_companions_are_not_maps(tmp_path: Path) -> None:
    values = np.full((4, 4, 2), 0.5, dtype=np.float32)
    values[:2], values[0] = 1.5, 2.0
    affine = np.diag([*VOXEL, 1.0])
    write_volume(Volume(values, affine), tmp_path / "mtt.nii.gz", grid=None)
    for name in ("other_sd", "mask"):
        write_volume(Volume(np.ones_like(values), affine), tmp_path / f"{name}.nii.gz", grid=None)
    (tmp_path / "mtt.json").write_text(json.dumps({"Quantity": "mtt", "Units": "s"}))
    reading, _ = read_region(tmp_path / "mtt.nii.gz", tmp_path / "mask.nii.gz")
    assert reading.above == {}
    assert read_region(tmp_path / "other_sd.nii.gz", tmp_path / "mask.nii.gz")[0].mean == 1  # of no map here
    for kind in ("sd", "validity"):
        shutil.copy(tmp_path / "mask.nii.gz", tmp_path / f"mtt_{kind}.nii.gz")
        with pytest.raises(InputError, match=r"give .*mtt\.nii\.gz"):
            read_region(tmp_path / f"mtt_{kind}.nii.gz", tmp_path / "mask.nii.gz")
        (tmp_path / f"mtt_{kind}.nii.gz").unlink()
    (tmp_path / "mtt.json").write_text(json.dumps({"Quantity": "nrcbv", "Units": "1"}))
    assert read_region(tmp_path / "mtt.nii.gz", tmp_path / "mask.nii.gz")[0].above == {1.0: 0.5, 1.75: 0.25}
