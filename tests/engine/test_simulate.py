"""Cases on disk: equal bytes, resuming, replay, and files that the reader takes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from perfmap.engine.patients import find_patients, patient_stack
from perfmap.engine.simulate import DrawnCase, parse_change, plan_cases, plan_replay, simulate_cases
from perfmap.engine.train_config import default_inputs
from perfmap.errors import ConfigError, InputError
from perfmap.io.nifti import read_series, read_volume
from perfmap.phantom.regimes import REGIMES


def one(name: str = "upenn-like", *, seed: int = 3) -> list[DrawnCase]:
    return plan_cases(regime=name, n=1, seed=seed, geometry="native", n_slices=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated")
    return simulate_cases(folder, one())[0]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_same_seed_same_bytes_and_another_seed_others(made: Path, tmp_path: Path) -> None:
    again = simulate_cases(tmp_path / "again", one())[0]
    assert digests(again) == digests(made)
    other = simulate_cases(tmp_path / "other", one(seed=4))[0]
    assert digests(other)["dsc.nii.gz"] != digests(made)["dsc.nii.gz"]


def test_files_of_a_case(made: Path) -> None:
    truths = ["cbv", "nrcbv", "cbf", "mtt", "delay", "ktrans", "labels", "mask", "nawm"]
    assert {path.name for path in made.iterdir()} == {
        "dsc.nii.gz",
        "dsc.json",
        "case.json",
        *(f"truth_{name}.nii.gz" for name in truths),
    }
    assert made.name == "upenn-like-0000"


def test_series_is_read_with_its_times_and_truth_lies_on_its_grid(made: Path) -> None:
    sidecar = json.loads((made / "dsc.json").read_text("utf-8"))
    record = json.loads((made / "case.json").read_text("utf-8"))["acquisition"]
    series = read_series(made / "dsc.nii.gz")
    assert series.signal.shape == (128, 128, 1, 45)
    assert series.time_step == pytest.approx(record["repetition_time"], rel=1e-5)
    assert series.echo_time == pytest.approx(record["echo_time"])
    assert sidecar["FlipAngle"] == record["flip_angle"]
    assert sidecar["MagneticFieldStrength"] == 3.0
    assert "simulated, research only" in sidecar["Note"]
    np.testing.assert_array_equal(series.signal, np.rint(series.signal))  # stored as int16
    nrcbv = read_volume(made / "truth_nrcbv.nii.gz", like=series).array
    nawm = read_volume(made / "truth_nawm.nii.gz", like=series).array > 0
    assert float(nrcbv[nawm].mean()) == pytest.approx(1.0, rel=1e-4)


def test_finished_cases_are_left_alone_and_unfinished_ones_made_again(made: Path) -> None:
    before = digests(made)
    stamp = (made / "dsc.nii.gz").stat().st_mtime_ns
    simulate_cases(made.parent, one())
    assert (made / "dsc.nii.gz").stat().st_mtime_ns == stamp
    (made / "case.json").unlink()
    (made / "truth_cbv.nii.gz").write_bytes(b"half")
    simulate_cases(made.parent, one())
    assert digests(made) == before


def test_folder_with_another_case_is_refused_unless_overwritten(made: Path) -> None:
    before = digests(made)
    with pytest.raises(ConfigError, match="holds another case; give --overwrite"):
        simulate_cases(made.parent, one(seed=9))
    assert digests(made) == before


def test_replay_gives_the_same_bytes_and_one_change_one_difference(made: Path, tmp_path: Path) -> None:
    same = simulate_cases(tmp_path, [plan_replay(made / "case.json", [])])[0]
    assert digests(same) == digests(made)
    changed = simulate_cases(tmp_path, [plan_replay(made / "case.json", ["echo_time=0.04"])])[0]
    assert changed.name == "upenn-like-0000_echo_time-0.04"
    assert digests(changed)["truth_nrcbv.nii.gz"] == digests(made)["truth_nrcbv.nii.gz"]
    assert read_series(changed / "dsc.nii.gz").echo_time == pytest.approx(0.04)


def test_records_and_changes_that_make_no_sense_are_refused(made: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "case.json"
    wrong.write_text("{}", "utf-8")
    with pytest.raises(InputError, match="is no record of a simulated case"):
        plan_replay(wrong, [])
    with pytest.raises(ConfigError, match="no acquisition parameter is called echo"):
        plan_replay(made / "case.json", ["echo=0.04"])
    with pytest.raises(ConfigError, match="wanted NAME=VALUE"):
        parse_change("echo_time")


def test_values_of_changes_are_json_or_words() -> None:
    assert parse_change("echo_time=0.04") == ("echo_time", 0.04)
    assert parse_change("artefacts.snr=null") == ("artefacts.snr", None)
    assert parse_change("agent=gadoterate") == ("agent", "gadoterate")
    assert parse_change("artefacts.spikes=[[0.5,0.1]]") == ("artefacts.spikes", [[0.5, 0.1]])


def test_all_plans_every_test_regime_with_seeds_of_their_own() -> None:
    planned = plan_cases(regime="all", n=2, seed=0)
    assert {case.regime for case in planned} == set(REGIMES) - {"training"}
    assert len({case.seed for case in planned}) == len(planned) == 2 * (len(REGIMES) - 1)
    with pytest.raises(ConfigError, match="unknown regime"):
        plan_cases(regime="nonsense", n=1, seed=0)


def test_more_cases_do_not_change_the_first_ones() -> None:
    assert plan_cases(regime="plain", n=1, seed=7) == plan_cases(regime="plain", n=3, seed=7)[:1]


@pytest.mark.slow
def test_processes_give_the_bytes_of_one_process(tmp_path: Path) -> None:
    planned = plan_cases(regime="training", n=2, seed=1, geometry="stack", n_slices=1)
    alone = simulate_cases(tmp_path / "one", planned)
    seen: list[tuple[int, int]] = []
    both = simulate_cases(
        tmp_path / "two", planned, jobs=2, progress=lambda done, total: seen.append((done, total))
    )
    assert [digests(path) for path in both] == [digests(path) for path in alone]
    assert seen == [(1, 2), (2, 2)]


def test_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x", "utf-8")
    with pytest.raises(InputError, match="cannot write"):
        simulate_cases(file / "out", one())


@pytest.mark.parametrize(
    ("regime", "changes", "reason"),
    [
        ("plain", [], "regime 'plain' is kept for tests"),
        ("training", ["echo_time=0.038"], "echo_time in a range that is held out"),
        ("training", ["residue_family=lorentzian", "artefacts.snr=25"], "snr, residue_family in a range"),
    ],
)
def test_held_out_cases_are_refused_as_training_data(
    regime: str, changes: list[str], reason: str, tmp_path: Path
) -> None:
    """A replay keeps the name of its regime but not its ranges."""
    drawn = plan_cases(regime=regime, n=1, seed=5, geometry="stack", n_slices=1)
    record = tmp_path / "case.json"
    record.write_text(drawn[0].parameters().model_dump_json(), "utf-8")
    planned = plan_replay(record, ["n_times=45", "field_strength=3.0", *changes], name="a")
    simulate_cases(tmp_path / "cohort", [planned])
    (patient,) = find_patients(tmp_path / "cohort", target="nrcbv")
    with pytest.raises(ConfigError, match=reason):
        patient_stack(patient, default_inputs("unet-gru"), slices="all")
