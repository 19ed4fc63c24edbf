"""Many cases: each mapped once, a bad one named, finished ones skipped only if nothing has changed."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from perfmap.engine.batch import run_batch
from perfmap.engine.batch_case import Job
from perfmap.engine.cases import discover
from perfmap.engine.predict import PredictConfig
from perfmap.engine.predict_file import predict_file
from perfmap.engine.summary import COLUMNS, Summary, merge_shards
from perfmap.errors import ConfigError, InputError
from perfmap.io.lock import locked_folder
from perfmap.models.checkpoint import load_checkpoint
from tests.dicom_factory import SECRETS, Scan, oblique_affine, write_classic
from tests.heads import head_series
from tests.studies import hashes, save_small_model, truncate, write_study


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three good series, a truncated one, a copy of the first, and a map."""
    folder = tmp_path_factory.mktemp("studies")
    for number in range(3):
        write_study(folder / f"p-{number}" / "dsc.nii.gz", seed=number)
    truncate(write_study(folder / "broken" / "dsc.nii.gz", seed=9))
    (folder / "zcopy.nii.gz").write_bytes((folder / "p-0" / "dsc.nii.gz").read_bytes())
    return folder


@pytest.fixture
def job(model: Path, tmp_path: Path) -> Job:
    return Job(model=model, output=tmp_path / "out", config=PredictConfig(device="cpu"))


def statuses(summary: Summary) -> dict[str, str]:
    return {row.case: row.status for row in summary.rows}


def test_good_cases_are_done_a_bad_one_is_named_and_a_copy_is_not_made_twice(
    studies: Path, job: Job, tmp_path: Path, model: Path
) -> None:
    summary = run_batch(discover(studies), job, lanes=2)
    assert statuses(summary) == {
        "broken": "failed",
        "p-0": "done",
        "p-1": "done",
        "p-2": "done",
        "zcopy": "skipped",
    }
    rows = {row.case: row for row in summary.rows}
    assert "truncated" in rows["broken"].reason
    assert rows["zcopy"].reason.endswith("case p-0")
    assert summary.exit_code() == 4
    assert summary.exit_code(partial_ok=True) == 0

    alone = predict_file(
        studies / "p-1" / "dsc.nii.gz",
        tmp_path / "alone.nii.gz",
        load_checkpoint(model),
        job.config,
        threads=2,
    )
    map_path = job.output / rows["p-1"].output
    assert map_path.read_bytes() == alone.map_path.read_bytes()
    assert (
        map_path.with_suffix("").with_suffix(".json").read_bytes() == (tmp_path / "alone.json").read_bytes()
    )
    assert json.loads((job.output / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    with (job.output / "summary.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    assert tuple(lines[0]) == COLUMNS
    assert [line["case"] for line in lines] == sorted(rows)


def test_finished_cases_are_skipped_only_while_input_model_and_settings_are_the_same(
    studies: Path, job: Job, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    for number in range(3):
        (source / f"p-{number}").mkdir(parents=True)
        content = (studies / f"p-{number}" / "dsc.nii.gz").read_bytes()
        (source / f"p-{number}" / "dsc.nii.gz").write_bytes(content)
    run_batch(discover(source), job)
    before = hashes(job.output)
    assert set(statuses(run_batch(discover(source), job)).values()) == {"skipped"}
    write_study(source / "p-0" / "dsc.nii.gz", seed=77)
    truncate(next(job.output.rglob("*p1*.nii.gz")), 0.9)
    assert statuses(run_batch(discover(source), job)) == {"p-0": "done", "p-1": "done", "p-2": "skipped"}
    after = hashes(job.output)
    assert [before[name] == after[name] for name in sorted(before)] == [False, True, True]
    (source / "p-2" / "dsc.json").write_text(json.dumps({"EchoTime": 0.04}))
    assert statuses(run_batch(discover(source), job))["p-2"] == "done"
    other = replace(job, config=PredictConfig(device="cpu", outside_is_nan=True))
    assert set(statuses(run_batch(discover(source), other)).values()) == {"done"}
    forced = run_batch(discover(source), replace(other, force=True))
    assert set(statuses(forced).values()) == {"done"}
    assert len(hashes(job.output)) == 3
    another = save_small_model(tmp_path / "another", seed=1)
    assert set(statuses(run_batch(discover(source), replace(other, model=another))).values()) == {"done"}


def test_a_copy_that_is_found_later_does_not_displace_the_case_that_has_its_map(
    studies: Path, job: Job, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    content = (studies / "p-0" / "dsc.nii.gz").read_bytes()
    (source / "m.nii.gz").write_bytes(content)
    run_batch(discover(source), job)
    (source / "a.nii.gz").write_bytes(content)
    assert statuses(run_batch(discover(source), job)) == {"a": "skipped", "m": "skipped"}
    assert len(hashes(job.output)) == 1


def test_shards_give_what_one_run_gives(studies: Path, job: Job, tmp_path: Path) -> None:
    cases = discover(studies / "*" / "dsc.nii.gz")
    whole = run_batch(cases, replace(job, output=tmp_path / "whole"))
    run_batch(cases, job, shard=(1, 2))
    with pytest.raises(InputError, match="1 of 2 shards"):
        merge_shards(job.output)
    run_batch(cases, job, shard=(2, 2))
    merged = merge_shards(job.output)
    untimed = [[replace(row, seconds=0.0) for row in summary.rows] for summary in (whole, merged)]
    assert untimed[0] == untimed[1]
    assert hashes(job.output) == hashes(tmp_path / "whole")
    write_study(tmp_path / "more" / "x.nii.gz", seed=3)
    run_batch(discover(tmp_path / "more"), job, shard=(2, 2))
    with pytest.raises(InputError, match="different lists"):
        merge_shards(job.output)


def test_two_runs_do_not_work_in_one_folder_but_two_shards_do(studies: Path, job: Job) -> None:
    cases = discover(studies / "p-1")
    with locked_folder(job.output), pytest.raises(ConfigError, match=r"process \d+ works in"):
        run_batch(cases, job)
    with locked_folder(job.output, part="1-of-2"):
        with pytest.raises(ConfigError, match="works in"):
            run_batch(cases, job)
        with pytest.raises(ConfigError, match="works in"):
            run_batch(cases, job, shard=(1, 2))
        run_batch(cases, job, shard=(2, 2))
    run_batch(cases, job)


def test_the_data_set_of_another_tool_is_not_written_into(studies: Path, job: Job) -> None:
    job.output.mkdir()
    (job.output / "dataset_description.json").write_text('{"Name": "raw", "BIDSVersion": "1.10.0"}')
    with pytest.raises(ConfigError, match="derivatives"):
        run_batch(discover(studies), job)
    assert hashes(job.output) == {}


def test_a_file_that_is_still_written_to_is_incomplete_and_done_later(studies: Path, job: Job) -> None:
    cases = discover(studies / "p-1")
    summary = run_batch(cases, replace(job, quiet_seconds=1e6))
    assert [row.status for row in summary.rows] == ["incomplete"]
    assert summary.exit_code() == 4
    assert [row.status for row in run_batch(cases, job).rows] == ["done"]


def test_an_export_of_dicom_gives_maps_under_pseudonyms_and_skips_them_later(
    job: Job, tmp_path: Path
) -> None:
    export = tmp_path / "export"
    shape = (32, 32, 3)
    signal = head_series(shape=shape, n_times=24, arrival=12.0)[0].signal
    affine = oblique_affine(shape, angles=(0.0, 0.0, 0.0))
    write_classic(Scan(signal, affine), export / "LOVELACE_ADA")
    write_classic(Scan(signal[..., :1], affine, series="t1", series_number=2), export / "t1")
    found = discover(export)
    (case,) = found.cases
    assert "1 volume" in found.left_out[0].reason
    summary = run_batch(found, job)
    assert statuses(summary) == {case.name: "done"}, summary.rows
    assert len(hashes(job.output)) == 1
    for path in job.output.rglob("*"):
        text = path.name + (path.read_text() if path.suffix in (".json", ".csv") else "")
        assert not any(secret.lower() in text.lower() for secret in SECRETS)
    assert statuses(run_batch(discover(export), job)) == {case.name: "skipped"}
