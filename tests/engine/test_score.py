"""The scorer: which files pair, and what the one convention says about them."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from perfmap.engine.pairing import case_name, find_cases, pair_maps
from perfmap.engine.score import METRICS, CaseScore, score_case
from perfmap.engine.score_table import score_files, table_as_csv, table_as_dict
from perfmap.errors import ConfigError, InputError
from perfmap.io.nifti import write_series, write_volume
from perfmap.io.sidecar import json_text, sidecar_path, write_json
from perfmap.phantom.priors import LABELS
from perfmap.series import Series, Volume

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


def reference_map(seed: int = 0, n_slices: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(seed).gamma(2.0, 1.0, (16, 14, n_slices)).astype(np.float32)


def disc(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=bool)
    mask[3:-3, 3:-3] = True
    return mask


def score(prediction: NDArray[Any], reference: NDArray[Any], **options: Any) -> CaseScore:
    return score_case(
        "c", prediction, reference, **{"mask": None, "labels": None, "data_range": None, **options}
    )


def save(array: NDArray[Any], path: Path, *, affine: NDArray[np.float64] = AFFINE) -> Path:
    write_volume(Volume(array, affine), path, grid=None, dtype=array.dtype)
    return path


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


# Pairing


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("0042.nii.gz", "0042"),
        ("0042.nii", "0042"),
        ("0042/dsc.nii.gz", "0042"),
        ("0042/nrcbv.nii.gz", "0042"),
        ("0042/truth_nrcbv.nii.gz", "0042"),
        ("0042_nrcbv.nii.gz", "0042"),
        ("truth_0042_nrcbv.nii.gz", "0042"),
        ("sub-0042_nrcbv.nii.gz", "0042"),
        ("sub-0042/perf/sub-0042_desc-unetgru_nrcbv.nii.gz", "0042"),
        ("sub-0042/ses-1/perf/sub-0042_ses-1_desc-x_nrcbv.nii.gz", "0042_ses-1"),
        ("site/0042/nrcbv.nii.gz", "site/0042"),
        ("v1.2.nii.gz", "v1.2"),
        ("nrcbv.nii.gz", ""),
        ("0042_ap_rcbv.nii.gz", "0042_ap_rcbv"),
    ],
)
def test_case_names(path: str, name: str) -> None:
    assert case_name(PurePath(path), kind="nrcbv") == name


def test_every_layout_finds_its_truth(tmp_path: Path) -> None:
    names = [
        "a.nii.gz",
        "b/dsc.nii.gz",
        "sub-c/perf/sub-c_desc-unet_nrcbv.nii.gz",
        "d_nrcbv.nii",
        "only-here.nii",
    ]
    touch(*(tmp_path / "pred" / name for name in names))
    truths = [
        f"{case}/truth_{kind}.nii.gz" for case in "abcde" for kind in ("cbv", "nrcbv", "mask", "labels")
    ]
    touch(
        *(tmp_path / "ref" / name for name in truths), *(tmp_path / "ref" / c / "dsc.nii.gz" for c in "abcde")
    )
    found = pair_maps(tmp_path / "pred", tmp_path / "ref", quantity="nrcbv")
    assert [pair.case for pair in found.pairs] == ["a", "b", "c", "d"]
    assert {pair.reference.name for pair in found.pairs} == {"truth_nrcbv.nii.gz"}
    assert [pair.prediction.relative_to(tmp_path / "pred").as_posix() for pair in found.pairs] == names[:4]
    assert found.unpaired_predictions == (tmp_path / "pred" / "only-here.nii",)
    assert found.unpaired_references == (tmp_path / "ref" / "e" / "truth_nrcbv.nii.gz",)


def test_quantity_picks_among_several(tmp_path: Path) -> None:
    touch(*(tmp_path / "a" / f"{name}.nii.gz" for name in ("nrcbv", "rcbv", "ap_rcbv", "cbf")))
    for kind in ("nrcbv", "rcbv", "ap_rcbv", "cbf"):
        assert find_cases(tmp_path, role="prediction", kind=kind) == {"a": tmp_path / "a" / f"{kind}.nii.gz"}
    with pytest.raises(InputError, match=r"no prediction of mtt .* ap_rcbv, cbf, nrcbv, rcbv; .*--quantity"):
        find_cases(tmp_path, role="prediction", kind="mtt")


def test_predictions_may_lie_beside_the_truth(tmp_path: Path) -> None:
    touch(
        tmp_path / "a" / "nrcbv.nii.gz", tmp_path / "a" / "truth_nrcbv.nii.gz", tmp_path / "a" / "dsc.nii.gz"
    )
    (pair,) = pair_maps(tmp_path, tmp_path, quantity="nrcbv").pairs
    assert (pair.prediction.name, pair.reference.name) == ("nrcbv.nii.gz", "truth_nrcbv.nii.gz")


def test_two_files_pair_whatever_their_names_and_a_file_finds_its_case_in_a_folder(tmp_path: Path) -> None:
    touch(tmp_path / "x.nii", *(tmp_path / "ref" / case / "truth_nrcbv.nii.gz" for case in ("y", "z")))
    truth = tmp_path / "ref" / "y" / "truth_nrcbv.nii.gz"
    assert pair_maps(tmp_path / "x.nii", truth, quantity="nrcbv").pairs[0].case == "y"
    touch(tmp_path / "y.nii")
    found = pair_maps(tmp_path / "y.nii", tmp_path / "ref", quantity="nrcbv")
    assert [pair.reference for pair in found.pairs] == [truth]
    assert len(found.unpaired_references) == 1


def test_leftovers_of_interrupted_runs_are_not_maps(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / ".hidden" / "b.nii.gz")
    assert set(find_cases(tmp_path, role="prediction", kind="nrcbv")) == {"a"}


def test_the_series_is_no_map_of_its_case(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_series(
        Series(np.ones((4, 4, 2, 9), np.float32), AFFINE, time_step=1.5, repetition_time=1.5),
        tmp_path / "ref" / "a" / "dsc.nii.gz",
    )
    save(np.ones((4, 4, 2), np.float32), tmp_path / "pred" / "a.nii.gz")
    with pytest.raises(
        InputError, match=r"no reference of nrcbv .*there are files of 4D series; check the path"
    ):
        pair_maps(tmp_path / "pred", tmp_path / "ref", quantity="nrcbv")
    save(np.ones((4, 4, 2), np.float32), tmp_path / "ref" / "b" / "dsc.nii.gz")  # a map, whatever its name
    assert set(find_cases(tmp_path / "ref", role="reference", kind="nrcbv")) == {"b"}
    assert not caplog.text
    (tmp_path / "ref" / "a" / "dsc.nii.gz").rename(tmp_path / "ref" / "c.nii.gz")
    assert set(find_cases(tmp_path / "ref", role="reference", kind="nrcbv")) == {"b"}
    assert "c.nii.gz is a 4D series, not a map, and passed over" in caplog.text


def test_pairing_refusals(tmp_path: Path) -> None:
    touch(tmp_path / "p" / "a.nii.gz", tmp_path / "r" / "b.nii.gz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no prediction pairs .*'a' against 'b'"):
        pair_maps(tmp_path / "p", tmp_path / "r", quantity="nrcbv")
    with pytest.raises(InputError, match="does not exist"):
        pair_maps(tmp_path / "nowhere", tmp_path / "r", quantity="nrcbv")
    with pytest.raises(InputError, match=r"no \.nii or \.nii\.gz"):
        pair_maps(tmp_path / "empty", tmp_path / "r", quantity="nrcbv")
    with pytest.raises(ConfigError, match="'blood' is unknown"):
        pair_maps(tmp_path / "p", tmp_path / "r", quantity="blood")
    touch(*(tmp_path / "p" / f"sub-a_desc-{method}_nrcbv.nii.gz" for method in ("bsw", "unet")))
    with pytest.raises(InputError, match=r"two prediction files for case 'a': .*bsw.*unet"):
        pair_maps(tmp_path / "p", tmp_path / "r", quantity="nrcbv")


# The convention


def test_perfect_prediction() -> None:
    reference = reference_map()
    found = score(reference, reference)
    assert found.values["nrmse_rms"] == found.values["mae_symmetric"] == 0.0
    assert found.values["psnr"] == float("inf")
    assert found.values["ssim"] == pytest.approx(1.0)
    assert (found.values["ccc"], found.values["slope"]) == pytest.approx((1.0, 1.0))
    assert np.isnan(found.values["nrmse_tissue"])  # no labels, no such figure
    assert list(found.values) == list(METRICS)


def test_constant_offset_by_hand() -> None:
    reference = np.full((10, 10, 2), 2.0)
    reference[..., 1] = 4.0
    found = score(reference + 0.5, reference, data_range=8.0)
    assert found.data_range == 8.0
    assert found.values["nrmse_rms"] == pytest.approx((0.5 / 2 + 0.5 / 4) / 2)  # mean over slices, not voxels
    assert found.values["nrmse_range"] == pytest.approx(0.5 / 8)
    assert found.values["psnr"] == pytest.approx(20 * np.log10(16))
    assert found.values["mae_symmetric"] == pytest.approx(2 * 0.5 / 8)
    assert (found.values["slope"], found.values["intercept"]) == pytest.approx((1.0, 0.5))


def test_range_is_the_percentile_inside_the_mask_and_both_maps_are_clipped_to_it() -> None:
    reference = reference_map()
    mask = disc(reference.shape)
    reference[0, 0, :] = 1e6  # outside of the mask: must not matter
    found = score(reference, reference, mask=mask)
    assert found.data_range == pytest.approx(np.percentile(reference[mask], 99.5))
    inside = reference.copy()
    inside[mask] = np.where(reference[mask] > found.data_range, 1e6, reference[mask])
    assert score(inside, reference, mask=mask).values["nrmse_rms"] == 0.0


def test_negative_predictions_count_as_zero() -> None:
    reference = reference_map()
    prediction = reference - 1.0
    wanted = score(np.maximum(prediction, 0), reference).values
    assert score(prediction, reference).values == pytest.approx(wanted, nan_ok=True)


def test_ssim_is_scikit_images_over_the_whole_slice() -> None:
    reference = reference_map()
    prediction = reference + np.random.default_rng(1).normal(0, 0.3, reference.shape)
    mask = disc(reference.shape)
    found = score(prediction, reference, mask=mask)
    clipped = [
        np.clip(np.where(mask, each, 0), 0, found.data_range).astype(float)
        for each in (prediction, reference)
    ]
    wanted = [
        structural_similarity(clipped[1][..., k], clipped[0][..., k], data_range=found.data_range, full=True)
        for k in range(3)
    ]
    assert found.values["ssim"] == pytest.approx(np.mean([mean for mean, _ in wanted]))
    assert found.values["ssim_mask"] == pytest.approx(
        np.mean([full[mask[..., k]].mean() for k, (_, full) in enumerate(wanted)])
    )


def test_what_lies_outside_the_mask_changes_nothing() -> None:
    reference = reference_map()
    mask = disc(reference.shape)
    prediction = reference * 1.1
    elsewhere = np.where(mask, prediction, np.nan), np.where(mask, reference, 77.0)
    wanted = score(prediction, reference, mask=mask).values
    assert score(*elsewhere, mask=mask).values == pytest.approx(wanted, nan_ok=True)


def test_a_voxel_without_reading_is_counted_and_costs_as_much_as_a_zero() -> None:
    reference = reference_map()
    zeroed, blank = reference.copy(), reference.copy()
    zeroed[5, 5, 1] = 0.0
    blank[5, 5, 1] = np.nan
    mask = np.ones(reference.shape, dtype=bool)
    with_zero, with_nan = score(zeroed, reference, mask=mask), score(blank, reference, mask=mask)
    assert with_nan.values == pytest.approx(with_zero.values, nan_ok=True)
    assert with_nan.values["nrmse_rms"] > 0
    assert (with_zero.n_without_reading, with_nan.n_without_reading) == (0, 1)


def test_a_voxel_without_truth_is_counted_and_not_scored() -> None:
    reference = reference_map()
    prediction = reference.copy()
    prediction[5, 5, 1] = 50.0
    reference[5, 5, 1] = np.nan
    found = score(prediction, reference, mask=np.ones(reference.shape, dtype=bool))
    assert (found.n_without_truth, found.n_voxels) == (1, reference.size - 1)
    assert found.values["nrmse_rms"] == 0.0


def test_tissue_error_ignores_vessels_and_csf_only() -> None:
    reference = reference_map() + 0.5
    for name, number in LABELS.items():
        labels = np.full(reference.shape, LABELS["gm"], dtype=np.uint8)
        labels[4:8, 4:8, :] = number
        prediction = reference.copy()
        prediction[4:8, 4:8, :] = 0.0
        found = score(prediction, reference, labels=labels)
        left_out = name in ("csf", "vessel_artery", "vessel_vein")
        assert (found.values["nrmse_tissue"] == 0.0) == left_out, name
        assert found.values["nrmse_rms"] > 0.1


def test_empty_slices_do_not_count() -> None:
    reference = reference_map(n_slices=4)
    mask = disc(reference.shape)
    mask[..., 0] = False
    prediction = 1.2 * reference
    part = score(prediction[..., 1:], reference[..., 1:], mask=mask[..., 1:])
    whole = score(prediction, reference, mask=mask)
    assert whole.n_slices == 3
    assert whole.values == pytest.approx(part.values, nan_ok=True)


def test_a_slice_without_the_figure_is_left_out_of_its_mean_and_named() -> None:
    reference = reference_map()
    prediction = 1.2 * reference
    prediction[..., 0] = reference[..., 0]  # no error: no finite PSNR
    found = score(prediction, reference)
    assert found.n_slices_without == {"psnr": 1, "psnr_slice": 1}
    assert np.isfinite(found.values["psnr"])
    assert found.values["nrmse_rms"] < score(1.2 * reference, reference).values["nrmse_rms"]


def test_case_refusals() -> None:
    reference = reference_map()
    with pytest.raises(InputError, match="no voxel"):
        score(reference, reference, mask=np.zeros(reference.shape, dtype=bool))
    with pytest.raises(InputError, match="intensity range is 0"):
        score(reference, np.zeros_like(reference), mask=np.ones(reference.shape, dtype=bool))
    with pytest.raises(InputError, match="labels has shape"):
        score(reference, reference, labels=np.zeros((2, 2, 2)))


# Files


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two simulator cases and their predictions."""
    for seed, case in enumerate(("one", "two")):
        reference = reference_map(seed)
        truth = tmp_path / "ref" / case
        save(reference, truth / "truth_nrcbv.nii.gz")
        save(disc(reference.shape).astype(np.uint8), truth / "truth_mask.nii.gz")
        labels = np.full(reference.shape, LABELS["gm"], dtype=np.uint8)
        labels[:8] = LABELS["vessel_vein"]
        save(labels, truth / "truth_labels.nii.gz")
        save((reference + 0.1 * (seed + 1)).astype(np.float32), tmp_path / "pred" / f"{case}.nii.gz")
    return tmp_path / "pred", tmp_path / "ref"


def test_masks_and_labels_beside_the_truth_are_used_and_said(folders: tuple[Path, Path]) -> None:
    table = score_files(*folders, quantity="nrcbv")
    mask = disc((16, 14, 3))
    by_hand = score(reference_map(0) + np.float32(0.1), reference_map(0), mask=mask)
    assert table.cases[0].values["nrmse_rms"] == pytest.approx(by_hand.values["nrmse_rms"])
    assert table.cases[0].n_voxels == np.count_nonzero(mask)
    assert np.isfinite(table.cases[0].values["nrmse_tissue"])
    text = "\n".join(table.convention)
    for said in (
        "99.5th percentile",
        "truth_mask beside the reference",
        "vessel_vein",
        "truth_labels",
        "Equation 1",
    ):
        assert said in text


def test_mean_and_sd_over_cases(folders: tuple[Path, Path]) -> None:
    table = score_files(*folders, quantity="nrcbv")
    errors = [case.values["nrmse_rms"] for case in table.cases]
    assert table.mean["nrmse_rms"] == pytest.approx(sum(errors) / 2)
    assert table.sd["nrmse_rms"] == pytest.approx(abs(errors[0] - errors[1]) / np.sqrt(2))


def test_without_mask_or_labels_the_table_says_so(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, _ = folders
    plain = save(reference_map(0), tmp_path / "plain" / "one.nii.gz")
    table = score_files(predictions, plain, quantity="nrcbv", data_range=4.0)
    assert table.cases[0].data_range == 4.0
    assert table.convention[0].startswith("R: 4 for every case (--data-range)")
    assert "where the reference is not 0" in table.convention[1]
    assert "no labels" in table.convention[3]
    assert [path.name for path in table.unpaired_predictions] == ["two.nii.gz"]


def test_a_folder_of_masks_pairs_alike_and_must_be_complete(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    mask = np.zeros((16, 14, 3), dtype=np.uint8)
    mask[5:9, 5:9] = 1
    save(mask, tmp_path / "masks" / "sub-one_desc-brain_mask.nii.gz")
    with pytest.raises(InputError, match=r"no mask in .* for case two"):
        score_files(*folders, quantity="nrcbv", mask=tmp_path / "masks")
    save(mask, tmp_path / "masks" / "two_mask.nii.gz")
    table = score_files(*folders, quantity="nrcbv", mask=tmp_path / "masks")
    assert [case.n_voxels for case in table.cases] == [48, 48]
    with pytest.raises(ConfigError, match=r"one mask file .* for 2 cases"):
        score_files(*folders, quantity="nrcbv", mask=tmp_path / "masks" / "two_mask.nii.gz")


def test_one_mask_file_serves_one_case(folders: tuple[Path, Path], tmp_path: Path) -> None:
    predictions, references = folders
    mask = save(np.ones((16, 14, 3), dtype=np.uint8), tmp_path / "m.nii.gz")
    truth = references / "two" / "truth_nrcbv.nii.gz"
    table = score_files(predictions / "two.nii.gz", truth, quantity="nrcbv", mask=mask)
    assert table.cases[0].n_voxels == 16 * 14 * 3


@pytest.mark.parametrize("spoiled", ["shape", "affine"])
def test_grid_mismatch_is_refused(folders: tuple[Path, Path], tmp_path: Path, spoiled: str) -> None:
    _, references = folders
    array = reference_map(0, n_slices=4 if spoiled == "shape" else 3)
    affine = np.diag([2.0, 2.0, 5.1, 1.0]) if spoiled == "affine" else AFFINE
    prediction = save(array, tmp_path / "other" / "one.nii.gz", affine=affine)
    with pytest.raises(InputError, match=f"{spoiled}.*resample"):
        score_files(prediction, references, quantity="nrcbv")


def test_axes_stored_in_another_order_are_no_mismatch(folders: tuple[Path, Path], tmp_path: Path) -> None:
    import nibabel as nib

    predictions, references = folders
    straight = nib.load(predictions / "one.nii.gz")
    turned = straight.as_reoriented(nib.orientations.axcodes2ornt("PLS"))
    assert turned.shape != straight.shape
    (tmp_path / "turned").mkdir()
    nib.save(turned, tmp_path / "turned" / "one.nii.gz")
    tables = [
        score_files(folder, references, quantity="nrcbv") for folder in (predictions, tmp_path / "turned")
    ]
    assert tables[0].cases[0].values == pytest.approx(tables[1].cases[0].values)


def test_a_coronal_series_is_scored_in_the_slices_it_was_acquired_in(tmp_path: Path) -> None:
    reference = reference_map(n_slices=3)
    prediction = reference + np.random.default_rng(1).normal(0, 0.2, reference.shape).astype(np.float32)
    coronal = np.diag([2.0, 5.0, 2.0, 1.0])
    pair = [
        save(np.swapaxes(array, 1, 2), tmp_path / f"{name}.nii.gz", affine=coronal)
        for name, array in (("p", prediction), ("r", reference))
    ]
    (case,) = score_files(*pair, quantity="nrcbv").cases
    assert case.n_slices == 3
    assert case.values == pytest.approx(score(prediction, reference).values, nan_ok=True)


def test_json_and_csv_hold_every_figure(folders: tuple[Path, Path]) -> None:
    table = score_files(*folders, quantity="nrcbv")
    content = json.loads(json_text(table_as_dict(table)))
    assert content["convention"] == list(table.convention)
    assert content["cases"][1]["case"] == "two"
    rows = list(csv.DictReader(io.StringIO(table_as_csv(table))))
    for key in METRICS:
        assert content["cases"][0][key] == table.cases[0].values[key] == float(rows[0][key])
        assert content["mean"][key] == pytest.approx(table.mean[key])


def test_the_documents_name_every_figure_and_every_label() -> None:
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
    assert all(f"`{key}`" in text for key in METRICS)
    assert all(f"| {name} | {number} |" in text for name, number in LABELS.items())


def test_maps_of_two_quantities_are_not_compared(folders: tuple[Path, Path], tmp_path: Path) -> None:
    _, references = folders
    truth = next(references.rglob("truth_nrcbv.nii.gz"))
    found = tmp_path / "cbv.nii.gz"  # a name that says little
    shutil.copy(truth, found)
    assert score_files(found, truth, quantity="nrcbv").mean["ccc"] == pytest.approx(1.0)
    write_json({"Quantity": "ap_rcbv"}, sidecar_path(found))
    with pytest.raises(InputError, match="the prediction is ap_rcbv, the reference nrcbv"):
        score_files(found, truth, quantity="nrcbv")


def test_a_table_is_headed_by_what_its_files_say(folders: tuple[Path, Path], tmp_path: Path) -> None:
    _, references = folders
    truth = next(references.rglob("truth_nrcbv.nii.gz"))
    pair = tmp_path / "one.nii.gz", tmp_path / "other.nii.gz"
    for path in pair:
        shutil.copy(truth, path)
    assert score_files(*pair, quantity="nrcbv").quantity == "nrcbv"
    write_json({"Quantity": "ap_rcbv"}, sidecar_path(pair[0]))
    assert score_files(*pair, quantity="nrcbv").quantity == "ap_rcbv"


def test_cases_of_two_quantities_make_no_table(folders: tuple[Path, Path]) -> None:
    for case, quantity in (("one", "nrcbv"), ("two", "ap_rcbv")):
        write_json({"Quantity": quantity}, sidecar_path(folders[0] / f"{case}.nii.gz"))
        write_json({"Quantity": quantity}, sidecar_path(folders[1] / case / "truth_nrcbv.nii.gz"))
    with pytest.raises(InputError, match="case two is ap_rcbv, case one is nrcbv; only maps of one"):
        score_files(*folders, quantity="nrcbv")
