"""Training on a small cohort on disk: it learns, it goes on where it stopped, it keeps patients apart."""

import csv
import json
import shutil
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from perfmap.cli import run
from perfmap.cli.training_progress import epoch_line
from perfmap.engine.dataset import Stack, save_stack
from perfmap.engine.patients import Patient, find_patients, largest_intensity, patient_stack, split_patients
from perfmap.engine.predict import PredictConfig, predict
from perfmap.engine.processes import together
from perfmap.engine.run_folder import LOG, RunState, Scores, begin_folder, kept_subjects
from perfmap.engine.sources import open_source
from perfmap.engine.train import Progress, _why_ended, train
from perfmap.engine.train_config import SIMULATOR, TrainConfig, default_inputs
from perfmap.errors import ConfigError, InputError
from perfmap.io.nifti import write_series, write_volume
from perfmap.io.sidecar import write_json
from perfmap.models.card import InputContract, Uncertainty
from perfmap.models.checkpoint import load_checkpoint
from perfmap.physics.captk import brightest_level
from perfmap.series import Volume
from tests.heads import WHITE, head_series


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cohort")
    for i in range(8):
        series, nrcbv = head_series(shape=(40, 40, 2), seed=i, arrival=20.0 + i)
        write_series(series, root / f"p{i}" / "dsc.nii.gz")
        write_volume(Volume(nrcbv, series.affine), root / f"p{i}" / "truth_nrcbv.nii.gz", grid=None)
    return root


def config_for(cohort: Path, **changes: object) -> TrainConfig:
    return TrainConfig(
        **{
            "name": "small",
            "architecture": "unet-gru",
            "arguments": {"widths": [8, 8, 16, 16, 16]},
            "inputs": InputContract(matrix=32),
            "data": str(cohort),
            "epochs": 3,
            "batch": 2,
            "precision": "fp32",
            "learning_rate": 3e-3,
            "deterministic": True,
            **changes,
        }
    )


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    yield
    torch.use_deterministic_algorithms(False)


def log_of(folder: Path) -> list[dict[str, str]]:
    with (folder / LOG).open() as file:
        return list(csv.DictReader(file))


def test_the_paper_s_split_is_by_patient_and_in_its_counts() -> None:
    split = split_patients([f"UPENN-{i:05d}" for i in range(519)], seed=7)
    assert [len(part) for part in (split.train, split.validation, split.test)] == [353, 63, 103]
    assert len({*split.train, *split.validation, *split.test}) == 519
    assert split == split_patients([f"UPENN-{i:05d}" for i in reversed(range(519))], seed=7)
    assert split != split_patients([f"UPENN-{i:05d}" for i in range(519)], seed=8)
    with pytest.raises(InputError, match="too few"):
        split_patients(["a"], seed=0)


def test_it_learns(cohort: Path, tmp_path: Path) -> None:
    card = train(config_for(cohort, epochs=40), tmp_path / "run", device="cpu")
    rows = log_of(tmp_path / "run")
    assert float(rows[-1]["validation_loss"]) < 0.3 * float(rows[0]["validation_loss"])
    assert card.scores["validation_nrmse_tissue"] < 0.3
    assert card.training.ended_by == "epochs"
    assert load_checkpoint(tmp_path / "run" / "model").card == card
    best = min(rows, key=lambda row: float(row["validation_loss"]))
    assert card.training.best_epoch == int(best["epoch"])


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("conv3d", {"widths": [2, 2]}),
        ("convlstm", {"widths": [2, 2]}),
        ("voxel-unet", {"widths": [8, 8]}),
    ],
)
def test_every_network_trains_and_is_read_back(
    cohort: Path, tmp_path: Path, architecture: str, arguments: dict[str, object]
) -> None:
    inputs = default_inputs(architecture).model_copy(update={"matrix": 32})
    config = config_for(cohort, architecture=architecture, arguments=arguments, inputs=inputs, epochs=1)
    card = train(config, tmp_path / "run", device="cpu", threads=1)
    assert np.isfinite(card.scores["validation_nrmse_tissue"])
    assert load_checkpoint(tmp_path / "run" / "model").card.architecture == architecture


def test_resumed_is_uninterrupted(cohort: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    train(config_for(cohort, schedule="constant", epochs=4), whole, device="cpu")
    parts = tmp_path / "parts"
    train(config_for(cohort, schedule="constant", epochs=2), parts, device="cpu")
    train(config_for(cohort, schedule="constant", epochs=4), parts, device="cpu", resume=True)
    for one, two in zip(log_of(whole), log_of(parts), strict=True):
        assert float(one["validation_loss"]) == pytest.approx(float(two["validation_loss"]), rel=1e-5)
    assert (whole / "model/model.safetensors").read_bytes() == (
        parts / "model/model.safetensors"
    ).read_bytes()


def test_a_run_is_not_begun_twice_nor_resumed_with_other_settings(cohort: Path, tmp_path: Path) -> None:
    train(config_for(cohort, epochs=1), tmp_path, device="cpu")
    with pytest.raises(ConfigError, match="--resume"):
        train(config_for(cohort, epochs=1), tmp_path, device="cpu")
    with pytest.raises(ConfigError, match="seed"):
        train(config_for(cohort, epochs=2, seed=1), tmp_path, device="cpu", resume=True)


def test_training_max_learns_its_constant_from_the_training_part_alone(cohort: Path, tmp_path: Path) -> None:
    inputs = InputContract(
        matrix=32,
        normalisation="training-max",
        training_max=1.0,
        time_alignment="as-acquired",
        interpolation="nearest",
    )
    card = train(config_for(cohort, epochs=1, inputs=inputs), tmp_path, device="cpu")
    split = split_patients([f"p{i}" for i in range(8)], seed=0)
    series = [
        head_series(shape=(40, 40, 2), seed=int(name[1:]), arrival=20.0 + int(name[1:]))[0]
        for name in split.train
    ]
    assert card.inputs.training_max == pytest.approx(max(float(s.signal.max()) for s in series))
    assert not card.scale_invariant


def test_manifest_lists_patients_and_names_what_is_missing(cohort: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "cohort.csv"
    manifest.write_text(
        f"patient,series,reference\na,{cohort}/p0/dsc.nii.gz,{cohort}/p0/truth_nrcbv.nii.gz\n"
    )
    assert [patient.name for patient in find_patients(manifest, target="nrcbv")] == ["a"]
    manifest.write_text("patient,series\na,b\n")
    with pytest.raises(InputError, match="lacks the columns reference"):
        find_patients(manifest, target="nrcbv")
    manifest.write_text("patient,series,reference\na,b.nii\n")
    with pytest.raises(InputError, match="line 2: no reference"):
        find_patients(manifest, target="nrcbv")
    manifest.write_bytes(
        "\ufeffpatient,series,reference\na,b.nii,c.nii\n".encode()
    )  # as a spreadsheet saves it
    assert [patient.series.name for patient in find_patients(manifest, target="nrcbv")] == ["b.nii"]
    with pytest.raises(InputError, match=r"dsc.nii.gz is no CSV file .*; wanted a table"):
        find_patients(cohort / "p0" / "dsc.nii.gz", target="nrcbv")
    manifest.write_text(
        "patient,series,reference\n" + "".join(f"{name},{name}.nii,c.nii\n" for name in "abc")
    )
    with pytest.raises(
        InputError, match=r"no patient of the training part can be used; patient (.): .*\1.nii"
    ):
        train(config_for(manifest), tmp_path / "run", device="cpu")
    with pytest.raises(InputError, match="truth_cbv"):
        find_patients(cohort, target="cbv")


def test_patients_that_cannot_be_used_are_left_out_and_named(
    cohort: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"p{i}" for i in range(8)]
    split = split_patients(names, seed=0)
    for name in names:
        shutil.copytree(cohort / name, tmp_path / "data" / name)
    flat, _ = head_series(shape=(40, 40, 2), seed=0, arrival=20.0)
    without_bolus = replace(flat, signal=np.repeat(flat.signal[..., :1], flat.signal.shape[-1], axis=-1))
    write_series(without_bolus, tmp_path / "data" / split.train[0] / "dsc.nii.gz", overwrite=True)
    config = config_for(tmp_path / "data", epochs=1)
    card = train(config, tmp_path / "run", device="cpu")
    assert caplog.text.count("left out of the training part") == 1
    assert f"patient {split.train[0]}: " in caplog.text
    assert card.training.n_train_slices == 2 * (len(split.train) - 1)
    assert card.training.data.endswith(", 1 series of them left out as unusable")
    bright = replace(without_bolus, signal=100 * without_bolus.signal)
    write_series(bright, tmp_path / "data" / split.train[0] / "dsc.nii.gz", overwrite=True)
    intensities = {"normalisation": "training-max", "time_alignment": "as-acquired", "training_max": 1.0}
    inputs = InputContract(matrix=32, **intensities)
    used = train(config_for(tmp_path / "data", epochs=1, inputs=inputs), tmp_path / "max", device="cpu")
    largest = [largest_intensity(patient) for patient in find_patients(cohort, target="nrcbv")]
    assert used.inputs.training_max is not None
    assert used.inputs.training_max <= max(largest)
    for name in split.validation:
        (tmp_path / "data" / name / "dsc.nii.gz").write_bytes(b"no series")
    with pytest.raises(InputError, match="no patient of the validation part can be used; patient"):
        train(config, tmp_path / "other", device="cpu")


def test_every_visit_of_a_patient_is_read_and_all_are_in_one_part(cohort: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "cohort.csv"
    lines = [f"p{i // 2},{cohort}/p{i}/dsc.nii.gz,{cohort}/p{i}/truth_nrcbv.nii.gz\n" for i in range(8)]
    manifest.write_text("patient,series,reference\n" + "".join([*lines, lines[0]]))  # one line twice
    card = train(config_for(manifest, epochs=1), tmp_path / "run", device="cpu")
    assert "cohort of 4 patients" in card.training.data
    assert (card.training.n_train_slices, card.training.n_validation_slices) == (3 * 2 * 2, 1 * 2 * 2)


def test_one_series_is_of_one_patient_and_references_are_positive(cohort: Path, tmp_path: Path) -> None:
    manifest, paths = tmp_path / "cohort.csv", f"{cohort}/p0/dsc.nii.gz,{cohort}/p0/truth_nrcbv.nii.gz"
    manifest.write_text(f"patient,series,reference\n,,\na,{paths}\nb,{paths}\n")
    with pytest.raises(InputError, match=r"dsc\.nii\.gz is the series of the patients a and b"):
        train(config_for(manifest), tmp_path / "run", device="cpu")
    series, nrcbv = head_series(shape=(40, 40, 2))
    write_series(series, tmp_path / "p" / "dsc.nii.gz")
    write_volume(Volume(-nrcbv, series.affine), tmp_path / "p" / "truth_nrcbv.nii.gz", grid=None)
    (patient,) = find_patients(tmp_path, target="nrcbv")
    with pytest.raises(InputError, match=r"mean of -.* in the brain, wanted a positive one"):
        patient_stack(patient, InputContract(matrix=32), slices="all")
    with pytest.raises(InputError, match="p is one patient; give the folder that holds all of them"):
        find_patients(tmp_path / "p", target="nrcbv")


def test_pixels_without_a_reference_do_not_count(tmp_path: Path) -> None:
    series, nrcbv = head_series(shape=(64, 64, 2), seed=0, arrival=20.0)
    write_series(series, tmp_path / "p" / "dsc.nii.gz")
    patient = Patient("p", tmp_path / "p" / "dsc.nii.gz", tmp_path / "p" / "ref.nii.gz")
    inputs = InputContract(matrix=64, interpolation="nearest")
    brain = np.argwhere(nrcbv > 0)
    known = np.where(nrcbv > 0, nrcbv, np.nan).astype(np.float32)
    known[tuple(brain[500])] = np.nan
    write_volume(Volume(known, series.affine), patient.reference, grid=None)
    stack = patient_stack(patient, inputs, slices="all")
    assert np.isfinite(stack.target).all()
    x, y, z = brain[500]
    assert stack.coverage[z, x, y] == 0
    assert (stack.coverage > 0.5).sum() == pytest.approx(len(brain) - 1, rel=0.05)
    known[tuple(brain[: len(brain) * 2 // 3].T)] = np.nan
    write_volume(Volume(known, series.affine), patient.reference, grid=None, overwrite=True)
    with pytest.raises(InputError, match=r"no finite value in .* of the brain"):
        patient_stack(patient, inputs, slices="all")


def test_a_network_that_looks_for_white_matter_is_told_of_it_by_a_cohort_too(
    tmp_path: Path,
) -> None:
    """Without it, the channel would stay untrained and its surest voxels would set the scale of every map."""
    series, nrcbv = head_series(shape=(48, 48, 4))
    write_series(series, tmp_path / "p" / "dsc.nii.gz")
    write_volume(Volume(nrcbv, series.affine), tmp_path / "p" / "truth_nrcbv.nii.gz", grid=None)
    inputs = default_inputs("voxel-unet")
    (patient,) = find_patients(tmp_path, target="nrcbv")
    by_shape = patient_stack(patient, inputs, slices="all")
    assert by_shape.white.sum() > 100
    assert by_shape.white_level > 0
    white = (nrcbv == WHITE).astype(np.float32)
    write_volume(Volume(white, series.affine), tmp_path / "p" / "truth_nawm.nii.gz", grid=None)
    (patient,) = find_patients(tmp_path, target="nrcbv")
    by_mask = patient_stack(patient, inputs, slices="all")
    assert by_mask.white.sum() == pytest.approx(white.sum(), rel=0.05)
    assert not patient_stack(patient, InputContract(matrix=64), slices="all").white.any()  # nobody asks there


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", "blood"], "target 'blood' is unknown"),
        (["--arch", "voxel-unet", "--normalisation", "training-max"], "voxel-unet reads maps too"),
        (["--arch", "voxel-unet", "--plain-mse"], "voxel-unet has a loss of its own, leave it out"),
    ],
)
def test_what_no_network_can_learn_is_told_before_data_are_read(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert run(["train", str(cohort), "-o", str(tmp_path / "run"), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_cohort_may_be_called_simulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / SIMULATOR).mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(["train", SIMULATOR, "-o", "run"]) == 3
    assert "no <patient>.npz" in capsys.readouterr().err


def test_options_of_the_simulator_are_refused_beside_data(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--subjects", "3", "--slices-per-subject", "2", "--workers", "2", "-o", str(tmp_path / "run")]
    assert run(["train", str(cohort), *given]) == 2
    said = "--subjects and --slices-per-subject and --workers would shape a training on the simulator"
    assert said in capsys.readouterr().err


def test_an_own_network_does_not_carry_the_name_of_a_shipped_one(cohort: Path, tmp_path: Path) -> None:
    options = ["--widths", "4,4,4,4,4", "--epochs", "1", "--threads", "1", "-q", "-o", str(tmp_path / "run")]
    assert run(["train", str(cohort), *options]) == 0
    assert load_checkpoint(tmp_path / "run" / "model").card.name == "own-unet-gru"


def test_no_pickle_in_a_run_folder(cohort: Path, tmp_path: Path) -> None:
    train(config_for(cohort, epochs=1), tmp_path, device="cpu")
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {
        "config.json",
        "log.csv",
        "state.safetensors",
        "state.json",
        "model.safetensors",
        "card.json",
    }
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0
    assert np.isfinite(float(log_of(tmp_path)[0]["validation_mae"]))


def test_held_out_regimes_are_refused_as_training_data(cohort: Path, tmp_path: Path) -> None:
    for patient in cohort.iterdir():
        shutil.copytree(patient, tmp_path / "cohort" / patient.name)
        write_json({"Regime": "ood-te"}, tmp_path / "cohort" / patient.name / "dsc.json")
    with pytest.raises(ConfigError, match="ood-te"):
        train(config_for(tmp_path / "cohort", epochs=1), tmp_path / "run", device="cpu")


def test_a_target_of_another_scale_is_learnt_as_well_and_the_card_keeps_scale_and_curve(
    cohort: Path, tmp_path: Path
) -> None:
    """ap-rCBV runs to 255: the network sees it over its mean in tissue, and the map is in the target's unit again."""
    for patient in cohort.iterdir():
        series, nrcbv = head_series(shape=(40, 40, 2), seed=int(patient.name[1:]))
        write_series(series, tmp_path / "cohort" / patient.name / "dsc.nii.gz")
        reference = tmp_path / "cohort" / patient.name / "truth_ap_rcbv.nii.gz"
        write_volume(Volume(40.0 * nrcbv, series.affine), reference, grid=None)
    card = train(config_for(tmp_path / "cohort", target="ap_rcbv", epochs=12), tmp_path / "run", device="cpu")
    assert 40.0 < card.outputs.scale < 88.0  # white matter is 40, grey matter 88
    assert card.outputs.reference == "network"
    assert card.training.curve is not None
    assert [f"{loss:.5g}" for loss in card.training.curve.validation] == [
        f"{float(row['validation_loss']):.5g}" for row in log_of(tmp_path / "run")
    ]
    series, nrcbv = head_series(shape=(40, 40, 2), seed=77)
    found = predict(series, load_checkpoint(tmp_path / "run" / "model"), PredictConfig(device="cpu"))
    brain = found.prepared.mask & (nrcbv > 0)
    assert found.maps["ap_rcbv"].array[brain].mean() == pytest.approx(40.0 * nrcbv[brain].mean(), rel=0.5)


def test_a_scale_that_cannot_be_fitted_is_told(
    cohort: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for patient in cohort.iterdir():
        shutil.copytree(patient, tmp_path / "cohort" / patient.name)
        truth = tmp_path / "cohort" / patient.name / "truth_nrcbv.nii.gz"
        truth.rename(truth.with_name("truth_ap_rcbv.nii.gz"))
    train(config_for(tmp_path / "cohort", target="ap_rcbv", epochs=1), tmp_path / "run", device="cpu")
    assert "fewer than 5 validation patients" in caplog.text


def test_the_card_of_a_network_for_ap_rcbv_says_where_a_patient_s_brightest_voxels_belong(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perfmap.engine.brightest._LEAST_PATIENTS", 1)
    for patient in cohort.iterdir():
        series, nrcbv = head_series(shape=(40, 40, 2), seed=int(patient.name[1:]))
        write_series(series, tmp_path / "cohort" / patient.name / "dsc.nii.gz")
        reference = tmp_path / "cohort" / patient.name / "truth_ap_rcbv.nii.gz"
        write_volume(Volume(40.0 * nrcbv, series.affine), reference, grid=None)
    config = config_for(tmp_path / "cohort", target="ap_rcbv", epochs=2)
    outputs = train(config, tmp_path / "run", device="cpu").outputs
    assert outputs.reference == "brightest"
    found = predict(
        head_series(shape=(40, 40, 2), seed=77)[0],
        load_checkpoint(tmp_path / "run" / "model"),
        PredictConfig(device="cpu"),
    )
    assert outputs.brightest is not None
    assert brightest_level(found.maps["ap_rcbv"].array) == pytest.approx(outputs.brightest, rel=1e-3)
    level = head_series(shape=(40, 40, 2), seed=77)[1].max()
    assert 0.3 * level < outputs.brightest / 40.0 < 1.5 * level  # in the unit of the references


def test_a_start_that_does_not_fit_is_told_before_the_data_are_read(tmp_path: Path) -> None:
    config = config_for(tmp_path / "no cohort here", start_from="voxel-unet")
    with pytest.raises(ConfigError, match="cannot be the start of this run"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_default_network_learns_ap_rcbv_too(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perfmap.engine.brightest._LEAST_PATIENTS", 1)
    for patient in cohort.iterdir():
        shutil.copytree(patient, tmp_path / "cohort" / patient.name)
        found = tmp_path / "cohort" / patient.name / "truth_nrcbv.nii.gz"
        found.rename(found.with_name("truth_ap_rcbv.nii.gz"))
    config = TrainConfig(
        name="ap",
        architecture="voxel-unet",
        inputs=default_inputs("voxel-unet"),
        data=str(tmp_path / "cohort"),
        target="ap_rcbv",
        epochs=1,
        batch=4,
    )
    outputs = train(config, tmp_path / "run", device="cpu").outputs
    assert (outputs.quantity, outputs.reference) == ("ap_rcbv", "brightest")


def test_training_goes_on_from_the_weights_of_a_checkpoint(cohort: Path, tmp_path: Path) -> None:
    before = train(config_for(cohort, epochs=1), tmp_path / "a")
    start = str(tmp_path / "a" / "model")
    card = train(
        config_for(cohort, epochs=1, start_from=start, learning_rate=1e-9, seed=3, weight_decay=0.0),
        tmp_path / "b",
    )
    old, new = (load_checkpoint(tmp_path / name / "model").network.state_dict() for name in "ab")
    assert card.training.started_from is not None
    assert card.training.started_from.sha256 == before.sha256
    assert "start_from" not in card.training.config  # a path may name a patient; the hash says enough
    assert card.training.config["data"] == cohort.name
    for name, tensor in old.items():
        if name.endswith(("weight", "bias")):
            torch.testing.assert_close(new[name], tensor, rtol=1e-3, atol=1e-4)
    shutil.rmtree(tmp_path / "a")
    again = config_for(cohort, epochs=2, start_from=start, learning_rate=1e-9, seed=3, weight_decay=0.0)
    resumed = train(again, tmp_path / "b", resume=True)
    assert resumed.training.started_from == card.training.started_from
    assert resumed.training.epochs == 2


def test_the_budget_ends_an_epoch_and_a_run_that_has_ended_stays_ended(cohort: Path, tmp_path: Path) -> None:
    card = train(config_for(cohort, epochs=9, minutes=1e-6), tmp_path / "run")
    assert (card.training.ended_by, card.training.epochs, card.training.steps) == ("minutes", 1, 1)
    again = train(config_for(cohort, epochs=9, minutes=1e-6), tmp_path / "run", resume=True)
    assert (again.training.ended_by, again.sha256) == ("minutes", card.sha256)
    assert again.training.steps == 1
    further = train(config_for(cohort, epochs=2), tmp_path / "run", resume=True)
    assert (further.training.ended_by, further.training.epochs) == ("epochs", 2)


def test_the_standard_deviation_is_fitted_at_the_end_and_again_for_other_subjects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def fit(_: object, *, n_subjects: int, **options: object) -> Uncertainty:
        asked.append(n_subjects)
        return Uncertainty(distribution="quantiles", sd_factor=1.0 + n_subjects, correlation_length_mm=5.0)

    monkeypatch.setattr("perfmap.engine.trained_card.calibrate", fit)
    config = TrainConfig(
        name="small",
        architecture="voxel-unet",
        arguments={"n_hidden": 8, "widths": [8, 8]},
        inputs=default_inputs("voxel-unet"),
        epochs=1,
        batch=2,
        subjects_per_epoch=1,
        slices_per_subject=2,
        validation_subjects=1,
    )
    for resume, n_subjects, factor in ((False, 1, 2.0), (True, 1, 2.0), (True, 3, 4.0)):
        again = config.model_copy(update={"calibration_subjects": n_subjects})
        card = train(again, tmp_path / "run", resume=resume)
        assert card.outputs.uncertainty is not None
        assert card.outputs.uncertainty.sd_factor == factor
        assert card.training.config["calibration_subjects"] == n_subjects
    assert asked == [1, 3]


def test_a_training_that_diverges_ends_and_says_so(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="diverged; lower --learning-rate"):
        train(config_for(cohort, learning_rate=1e30, epochs=9), tmp_path / "run")


def test_what_is_left_of_a_run_is_no_more_than_its_budget() -> None:
    scores = Scores(loss=0.5, mae=0.1, nrmse_tissue=0.2)
    line = epoch_line(Progress(2, 60, 9, 9, 0.4, 120.0, 180.0, scores))
    assert line.endswith("(2.0 min, at most 1 left)")
    assert epoch_line(Progress(2, 60, 9, 9, 0.4, 120.0, scores=scores)).endswith("at most 58 left)")


def test_a_run_without_gain_ends_by_patience_and_a_longer_one_goes_on() -> None:
    stale = RunState(epoch=5, seconds=90.0, stale=3)
    config = TrainConfig(name="x", architecture="unet-gru", epochs=9, patience=3, minutes=2)
    assert _why_ended(config, stale) == "patience"
    assert _why_ended(config.model_copy(update={"patience": 4}), stale) is None
    assert _why_ended(config.model_copy(update={"minutes": 1.5}), stale) == "minutes"
    assert _why_ended(config.model_copy(update={"patience": None, "epochs": 5}), stale) == "epochs"


def test_a_folder_that_cannot_be_written_is_told_before_the_data_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is not a folder"):
        train(config_for(tmp_path / "no cohort here"), tmp_path / "file" / "run")


def test_a_network_of_another_quantity_may_be_the_start(cohort: Path, tmp_path: Path) -> None:
    other = tmp_path / "ap"
    shutil.copytree(cohort, other)
    for path in other.glob("*/truth_nrcbv.nii.gz"):
        path.rename(path.with_name("truth_ap_rcbv.nii.gz"))
    before = train(config_for(other, target="ap_rcbv", epochs=1), tmp_path / "a")
    still = {
        "learning_rate": 1e-9,
        "weight_decay": 0.0,
        "start_from": str(tmp_path / "a" / "model"),
        "seed": 3,
    }
    card = train(config_for(cohort, epochs=1, **still), tmp_path / "b")
    old, new = (load_checkpoint(tmp_path / name / "model").network.state_dict() for name in "ab")
    torch.testing.assert_close(new["head.weight"], old["head.weight"], rtol=1e-3, atol=1e-4)
    assert card.outputs.quantity == "nrcbv"
    assert card.training.started_from is not None
    assert card.training.started_from.sha256 == before.sha256


def test_a_new_run_takes_away_old_kept_subjects_and_nothing_else(tmp_path: Path) -> None:
    stale, own = (tmp_path / "stacks" / name for name in ("0-000003.npz", "mine.npz"))
    stale.parent.mkdir()
    stale.touch()
    own.touch()
    begin_folder(TrainConfig(name="x", architecture="unet-gru"), tmp_path)
    assert not stale.exists()
    assert own.exists()


def test_a_checkpoint_of_another_kind_is_no_start(cohort: Path, tmp_path: Path) -> None:
    train(config_for(cohort, epochs=1), tmp_path / "a")
    start = str(tmp_path / "a" / "model")
    with pytest.raises(ConfigError, match="arguments"):
        train(config_for(cohort, start_from=start, arguments={"widths": [8, 8, 8, 8, 8]}), tmp_path / "c")
    with pytest.raises(ConfigError, match="wanted 5"):
        train(config_for(cohort, arguments={"widths": [8, 8]}), tmp_path / "c")
    assert not (tmp_path / "c").exists()  # a run that is refused leaves no folder
    inputs = default_inputs("voxel-unet").model_copy(update={"matrix": 32})
    with pytest.raises(ConfigError, match="architecture unet-gru"):
        train(
            config_for(cohort, start_from=start, architecture="voxel-unet", arguments={}, inputs=inputs),
            tmp_path / "d",
        )


def tiny_stack(level: float) -> Stack:
    plane = np.ones((1, 8, 8))
    yes = plane.astype(bool)
    return Stack(
        curves=np.zeros((1, 48, 8, 8), np.float16),
        valid=np.ones(87, np.float32),
        target=(level * plane).astype(np.float16),
        coverage=plane.astype(np.float16),
        tissue=yes,
        lesion=~yes,
        white=yes,
        white_level=1.0,
    )


class MadeUp:
    """Subjects of level 1, in place of simulated ones."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def submit(self, part: int, indices: Iterable[int]) -> list[Future[Stack]]:
        futures: list[Future[Stack]] = [Future() for _ in indices]
        for future in futures:
            future.set_result(tiny_stack(1.0))
        return futures

    def kept(self, part: int, index: int) -> Stack:
        return tiny_stack(2.0)

    def close(self) -> None: ...


def test_subjects_of_an_earlier_run_are_seen_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = default_inputs("voxel-unet")
    earlier = TrainConfig(name="x", architecture="voxel-unet", inputs=inputs)
    begin_folder(earlier, tmp_path)
    for part, n in ((0, 3), (1, 2)):  # those of its validation part are not taken
        for i in range(n):
            save_stack(tiny_stack(3.0 + part), tmp_path / "stacks" / f"{part}-{i:06d}.npz")
    config = earlier.model_copy(
        update={"seed": 1, "subjects_per_epoch": 2, "replayed_subjects": 2, "replay_from": str(tmp_path)}
    )
    monkeypatch.setattr("perfmap.engine.sources.SimulatedStacks", MadeUp)
    with together("cpu") as processes:
        source = open_source(config, tmp_path / "new", processes)
        levels = [[float(stack.target[0, 0, 0]) for stack in source.training(epoch)] for epoch in range(12)]
    assert sorted(levels[0]) == [1.0, 1.0, 3.0, 3.0]
    assert [len(found) for found in levels] == [4] * 12
    assert {level for found in levels for level in found} == {1.0, 2.0, 3.0}
    assert source.n_distinct(1) == (2 + 2) * 6  # two of the three that were kept
    assert source.n_distinct(12) == (12 * 2 + 3) * 6
    assert "an earlier run" in source.description


def test_a_kept_subject_that_is_broken_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = TrainConfig(name="x", architecture="voxel-unet", inputs=default_inputs("voxel-unet"))
    begin_folder(earlier, tmp_path)
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "0-000007.npz").write_bytes(b"PK")
    config = earlier.model_copy(update={"seed": 1, "replayed_subjects": 1, "replay_from": str(tmp_path)})
    monkeypatch.setattr("perfmap.engine.sources.SimulatedStacks", MadeUp)
    with together("cpu") as processes, pytest.raises(InputError, match=r"0-000007\.npz of an earlier run"):
        open_source(config, tmp_path / "new", processes).training(0)


def test_a_folder_that_has_nothing_to_be_seen_again_is_refused(tmp_path: Path) -> None:
    inputs = default_inputs("voxel-unet")
    earlier = TrainConfig(name="x", architecture="voxel-unet", inputs=inputs)
    config = earlier.model_copy(update={"seed": 1})
    with pytest.raises(ConfigError, match="holds no training run"):
        kept_subjects(tmp_path, config)
    begin_folder(earlier, tmp_path)
    with pytest.raises(ConfigError, match="kept no simulated subjects"):
        kept_subjects(tmp_path, config)
    save_stack(tiny_stack(1.0), tmp_path / "stacks" / "0-000000.npz")
    assert len(kept_subjects(tmp_path, config)) == 1
    with pytest.raises(ConfigError, match="reads other inputs"):
        kept_subjects(tmp_path, config.model_copy(update={"inputs": InputContract()}))
    with pytest.raises(ConfigError, match="slices a subject, wanted 5"):
        kept_subjects(tmp_path, config.model_copy(update={"slices_per_subject": 5}))
    with pytest.raises(ConfigError, match="of the same seed, 0"):
        kept_subjects(tmp_path, earlier)
