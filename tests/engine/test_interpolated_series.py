"""A series that the scanner interpolated gives the map of the same series without interpolation, on its own grid."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from perfmap.engine.conventional_config import ConventionalConfig
from perfmap.engine.conventional_file import ConventionalInputs, conventional_file
from perfmap.engine.export import find_cases, stage, the_case
from perfmap.engine.inspect import inspect_input
from perfmap.engine.predict import PredictConfig
from perfmap.engine.predict_file import Done, predict_file
from perfmap.engine.reproduce import reproduce
from perfmap.errors import InputError
from perfmap.io.dicom_convert import Staged
from perfmap.io.sidecar import write_json
from perfmap.models import DEFAULT_MODEL
from perfmap.models.checkpoint import find_checkpoint, load_checkpoint
from perfmap.preprocess.pipeline import Validity
from perfmap.report.dicom import write_prediction_dicom
from perfmap.report.prediction import write_prediction_report
from tests.dicom_factory import Scan, oblique_affine, write_classic, write_enhanced, write_mosaic
from tests.heads import head_series
from tests.interpolated import zero_filled

SHAPE, N_TIMES = (48, 40, 3), 40
AFFINE = oblique_affine(SHAPE, spacing=(4.0, 4.0, 6.0), angles=(8.0, -4.0, 3.0))
FINE_AFFINE = AFFINE @ np.diag([0.5, 0.5, 1.0, 1.0])


def tell_acquired(data: Dataset, t: int, k: int) -> None:
    data.AcquisitionMatrix = [SHAPE[0], 0, 0, SHAPE[1]]


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One acquisition exported twice: as it was acquired, and interpolated to twice its matrix."""
    folder = tmp_path_factory.mktemp("exports")
    signal = head_series(shape=SHAPE, n_times=N_TIMES, arrival=18.0, noise=0.01)[0].signal
    write_classic(Scan(signal.round(), AFFINE), folder / "acquired")
    fine = zero_filled(signal, 2).round()
    write_classic(Scan(fine, FINE_AFFINE), folder / "interpolated", edit=tell_acquired)
    return {name: folder / name for name in ("acquired", "interpolated")}


@pytest.fixture(scope="module")
def staged(twice: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Staged]:
    folder = tmp_path_factory.mktemp("staged")
    return {name: stage(the_case(find_cases(path)), folder / name) for name, path in twice.items()}


def at_acquired_points(fine: Path, like: Path) -> np.ndarray:
    """Values of a fine image at the points of another, which lie on voxels of it."""
    one, other = nib.load(fine), nib.load(like)
    places = np.stack(np.meshgrid(*map(np.arange, other.shape), indexing="ij"), axis=-1)
    to_fine = np.linalg.inv(one.affine) @ other.affine
    index = places @ to_fine[:3, :3].T + to_fine[:3, 3]
    assert np.abs(index - index.round()).max() < 1e-3
    return np.asarray(one.get_fdata()[tuple(np.moveaxis(index.round().astype(int), -1, 0))])


def predicted(staged: Staged, folder: Path, **settings: object) -> Done:
    return predict_file(
        staged.nifti,
        folder / "nrcbv.nii.gz",
        load_checkpoint(find_checkpoint(DEFAULT_MODEL)),
        PredictConfig(**settings),  # type: ignore[arg-type]
        source=staged.source,
    )


@pytest.fixture(scope="module")
def done(staged: dict[str, Staged], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    folder = tmp_path_factory.mktemp("maps")
    return {name: predicted(one, folder / name) for name, one in staged.items()}


def test_the_networks_map_is_that_of_the_acquired_series(done: dict[str, Done]) -> None:
    coarse, fine = done["acquired"].map_path, done["interpolated"].map_path
    truth = nib.load(coarse).get_fdata()
    apart = np.abs(at_acquired_points(fine, coarse) - truth)[truth > 0]
    assert np.percentile(apart, 95) < 0.03  # nrCBV, where white matter is 1
    assert apart.max() < 0.1


def test_the_map_lies_on_the_grid_of_the_input_and_says_what_was_done(
    done: dict[str, Done], staged: dict[str, Staged]
) -> None:
    one, series = done["interpolated"], nib.load(staged["interpolated"].nifti)
    image = nib.load(one.map_path)
    assert image.shape == series.shape[:3] == (96, 80, 3)
    assert np.array_equal(image.affine, series.affine)
    sidecar = one.manifest["sidecar"]
    assert sidecar["Input"]["shape"][:3] == [96, 80, 3]
    assert sidecar["Found"]["acquired_grid"]["shape"] == [48, 40, 3]
    assert sidecar["Found"]["acquired_grid"]["voxel_size_mm"] == [4.0, 4.0, 6.0]
    assert any("interpolated: 96×80×3 voxels from 48×40×3 acquired" in note for note in sidecar["Notes"])
    assert "acquired_grid" not in done["acquired"].manifest["sidecar"]["Found"]
    validity = one.maps["validity"].array
    assert validity.shape == (96, 80, 3)
    assert ((one.maps["nrcbv"].array != 0) <= (validity == Validity.VALID)).all()
    assert sidecar["Found"]["voxels"]["valid"] == (validity == Validity.VALID).sum()
    assert sum(sidecar["Found"]["voxels"].values()) == validity.size


def test_the_report_counts_the_voxels_of_the_written_map(done: dict[str, Done], tmp_path: Path) -> None:
    one = done["interpolated"]
    write_prediction_report(one, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    n_valid = int((one.maps["validity"].array == Validity.VALID).sum())
    assert re.search(rf"with a reading</\w+>\s*<\w+[^>]*>{n_valid}<", page)


def test_dicom_goes_out_on_the_grid_of_the_source(
    done: dict[str, Done], staged: dict[str, Staged], tmp_path: Path
) -> None:
    write_prediction_dicom(done["interpolated"], tmp_path, ("mr",))
    origin = [
        pydicom.dcmread(piece.path, stop_before_pixels=True) for piece in staged["interpolated"].source.slices
    ]
    for folder in ("nrcbv", "nrcbv-conventional"):
        images = [pydicom.dcmread(path) for path in (tmp_path / "mr" / folder).iterdir()]
        assert len(images) == SHAPE[2]
        for image in images:
            apart = [
                np.linalg.norm(np.subtract(image.ImagePositionPatient, o.ImagePositionPatient))
                for o in origin
            ]
            assert min(apart) < 1e-4
            assert (image.Rows, image.Columns) == (80, 96)
            assert np.allclose(image.PixelSpacing, origin[0].PixelSpacing)
            assert (image.pixel_array != image.PixelPaddingValue).any()


def test_a_map_of_an_interpolated_series_can_be_made_again(
    done: dict[str, Done], staged: dict[str, Staged], twice: dict[str, Path], tmp_path: Path
) -> None:
    one = done["interpolated"]
    write_json(one.manifest, tmp_path / "manifest.json")
    assert reproduce(tmp_path / "manifest.json", input_path=twice["interpolated"]).same


RCBV = ConventionalConfig(maps=("rcbv",))  # without the search for white matter, which takes most of the time


@pytest.mark.parametrize(
    ("method", "name", "share"),
    [("firstpass", "rcbv", 0.03), ("bsw", "k2", 0.03), ("captk", "psr", 0.06)],  # CaPTk's are whole numbers
)
def test_conventional_maps_are_those_of_the_acquired_series(
    staged: dict[str, Staged], tmp_path: Path, method: str, name: str, share: float
) -> None:
    config = ConventionalConfig(method=method, maps=(name,))  # type: ignore[arg-type]
    made = {
        which: conventional_file(one.nifti, tmp_path / which, config).paths[name]
        for which, one in staged.items()
    }
    truth = nib.load(made["acquired"]).get_fdata()
    apart = np.abs(at_acquired_points(made["interpolated"], made["acquired"]) - truth)
    inside = nib.load(staged["acquired"].nifti).get_fdata()[..., 0] > 400
    assert np.percentile(apart[inside], 95) < share * np.ptp(truth[inside])
    sidecar = json.loads((tmp_path / "interpolated" / f"{name}.json").read_text())
    assert sidecar["Found"]["acquired_grid"]["shape"] == [48, 40, 3]
    assert "acquired_grid" not in json.loads((tmp_path / "acquired" / f"{name}.json").read_text())["Found"]


def test_masks_on_the_grid_of_the_input_are_kept_to(staged: dict[str, Staged], tmp_path: Path) -> None:
    series = nib.load(staged["interpolated"].nifti)
    mask = np.zeros(series.shape[:3], dtype=np.uint8)
    mask[31:66, 25:58] = 1  # odd edges: no voxel of the acquired grid ends there
    nib.save(nib.Nifti1Image(mask, series.affine), tmp_path / "mask.nii.gz")
    nib.save(
        nib.Nifti1Image(mask * (np.arange(96) > 48)[:, None, None], series.affine), tmp_path / "white.nii.gz"
    )
    done = conventional_file(
        staged["interpolated"].nifti,
        tmp_path / "out",
        ConventionalConfig(),
        inputs=ConventionalInputs(mask=tmp_path / "mask.nii.gz", nawm=tmp_path / "white.nii.gz"),
    )
    values = nib.load(done.paths["nrcbv"]).get_fdata()
    assert (values[mask == 0] == 0).all()
    assert (values[mask == 1] != 0).mean() > 0.99
    assert done.manifest["Found"]["brain_voxels"] == (values != 0).sum()


def test_masks_too_small_for_the_acquired_grid_are_refused_by_name(
    staged: dict[str, Staged], tmp_path: Path
) -> None:
    nifti = staged["interpolated"].nifti
    series, path = nib.load(nifti), tmp_path / "small.nii.gz"
    mask = np.zeros(series.shape[:3], dtype=np.uint8)
    mask[48, 40, 1] = 1
    nib.save(nib.Nifti1Image(mask, series.affine), path)
    small = r"small\.nii\.gz is too small for the acquired grid of 48×40×3 voxels.*--grid stored"
    for inputs in (ConventionalInputs(mask=path), ConventionalInputs(nawm=path)):
        with pytest.raises(InputError, match=small):
            conventional_file(nifti, tmp_path / "out", ConventionalConfig(), inputs=inputs)
    with pytest.raises(InputError, match=small):
        predict_file(
            nifti,
            tmp_path / "nrcbv.nii.gz",
            load_checkpoint(find_checkpoint(DEFAULT_MODEL)),
            PredictConfig(),
            mask_path=path,
        )


def test_one_bad_value_in_the_second_echo_stays_one(staged: dict[str, Staged], tmp_path: Path) -> None:
    nifti = staged["interpolated"].nifti
    series, path = nib.load(nifti), tmp_path / "late.nii"
    late = series.get_fdata(dtype=np.float32) ** 2 / 1000
    late[2, 2, 0, 20] = np.nan
    image = nib.Nifti1Image(late, series.affine, series.header)
    image.set_data_dtype(np.float32)
    nib.save(image, path)
    write_json({"EchoTime": 0.06, "RepetitionTime": 1.5}, tmp_path / "late.json")
    config = ConventionalConfig(method="dual-echo", maps=("rcbv",))
    done = conventional_file(nifti, tmp_path / "out", config, inputs=ConventionalInputs(second_echo=path))
    assert "acquired_grid" not in done.manifest["Found"]
    assert any("not finite" in note for note in done.manifest["Notes"])
    values = nib.load(done.paths["rcbv"]).get_fdata()
    assert np.isfinite(values).all()
    assert (values != 0).any()


def test_stored_grid_is_kept_when_asked_for(staged: dict[str, Staged], tmp_path: Path) -> None:
    for grid, shape in (("stored", None), ("acquired", [48, 40, 3])):
        config = ConventionalConfig(grid=grid, maps=("rcbv",))  # type: ignore[arg-type]
        done = conventional_file(staged["interpolated"].nifti, tmp_path / grid, config)
        assert done.manifest["Found"].get("acquired_grid", {}).get("shape") == shape


def test_dcm2niix_sidecar_of_a_nifti_series_does_as_well(staged: dict[str, Staged], tmp_path: Path) -> None:
    path = tmp_path / "dsc.nii"
    path.write_bytes(staged["interpolated"].nifti.read_bytes())
    write_json(
        {"AcquisitionMatrixPE": 40, "BaseResolution": 48, "ReconMatrixPE": 80, "PhaseEncodingDirection": "j"},
        tmp_path / "dsc.json",
    )
    done = conventional_file(path, tmp_path / "out", RCBV)
    assert done.manifest["Found"]["acquired_grid"]["shape"] == [48, 40, 3]


def tell_enhanced(data: Dataset, t: int, k: int) -> None:
    geometry = Dataset()
    geometry.InPlanePhaseEncodingDirection = "COLUMN"
    geometry.MRAcquisitionFrequencyEncodingSteps = SHAPE[0]
    geometry.MRAcquisitionPhaseEncodingStepsInPlane = SHAPE[1] // 2  # parallel imaging
    geometry.PercentPhaseFieldOfView = 100.0 * SHAPE[1] / SHAPE[0]
    data.SharedFunctionalGroupsSequence[0].MRFOVGeometrySequence = [geometry]


@pytest.mark.parametrize("kind", ["mosaic", "enhanced"])
def test_other_kinds_of_dicom_tell_their_acquired_matrix(
    staged: dict[str, Staged], tmp_path: Path, kind: str
) -> None:
    signal = zero_filled(head_series(shape=SHAPE, n_times=24, arrival=12.0)[0].signal, 2).round()
    scan = Scan(signal, FINE_AFFINE)
    if kind == "mosaic":
        write_mosaic(scan, tmp_path / "in", edit=tell_acquired)
    else:
        write_enhanced(scan, tmp_path / "in" / "dsc.dcm", edit=tell_enhanced)
    (case,) = inspect_input(tmp_path / "in", quality=False)["cases"]
    assert case["acquired_matrix"] == [48, 40]
    result = stage(the_case(find_cases(tmp_path / "in")), tmp_path / "staged")
    done = conventional_file(result.nifti, tmp_path / "out", RCBV)
    assert done.manifest["Found"]["acquired_grid"]["shape"] == [48, 40, 3]


def test_inspect_names_the_acquired_matrix_only_where_there_is_another(twice: dict[str, Path]) -> None:
    found = {name: inspect_input(path, quality=False)["cases"][0] for name, path in twice.items()}
    assert found["interpolated"]["acquired_matrix"] == [48, 40]
    assert found["acquired"]["acquired_matrix"] is None
