"""``predict`` over many cases on the command line, with the verbs that belong to it."""

from __future__ import annotations

import csv
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from perfmap.cli import run
from perfmap.io.nifti import write_volume
from perfmap.series import Volume
from tests.heads import head_series
from tests.studies import hashes, save_small_model, truncate, write_study


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    for number in range(2):
        write_study(tmp_path / "in" / f"p-{number}" / "dsc.nii.gz", seed=number)
    return tmp_path / "in"


def predict(studies: Path, output: Path, model: Path, *options: str) -> int:
    return run(
        ["predict", str(studies), "-o", str(output), "--model", str(model), "--threads", "1", *options]
    )


def test_exit_codes_of_a_batch_and_what_it_prints(
    studies: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert predict(studies, output, model) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "2 done" in out
    truncate(write_study(studies / "bad.nii.gz", seed=5))
    assert predict(studies, output, model) == 4
    out, err = capsys.readouterr()
    assert "2 skipped, 1 failed" in out
    assert err.startswith("perfmap: warning: bad: failed: ")
    assert err.count("\n") == 1
    assert predict(studies, output, model, "--partial-ok", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["counts"]["failed"] == 1
    assert predict(studies, tmp_path / "one.nii.gz", model) == 3
    assert predict(studies / "*.nii.gz", tmp_path / "one.nii.gz", model) == 2
    assert predict(studies, output, model, "--shard", "3/2") == 2
    assert predict(studies / "p-0" / "dsc.nii.gz", tmp_path / "x.nii.gz", model, "--force") == 2
    assert predict(tmp_path / "nothing", output, model) == 3


def test_cases_shards_merge_and_score_work_together(
    studies: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series, truth = head_series(shape=(32, 32, 3), n_times=40)
    for number in range(2):
        path = studies / f"p-{number}" / "truth_nrcbv.nii.gz"
        write_volume(Volume(truth, series.affine, "nrcbv"), path, grid=None)
    listing, output = tmp_path / "cases.csv", tmp_path / "out"
    assert run(["cases", str(studies), "-o", str(listing)]) == 0
    assert "left out" in capsys.readouterr().out
    assert run(["merge", str(output)]) == 3
    assert predict(listing, output, model, "--shard", "1/2") == 0
    assert run(["merge", str(output)]) == 3
    assert predict(listing, output, model, "--shard", "2/2") == 0
    assert run(["merge", str(output)]) == 0
    with (output / "summary.csv").open() as stream:
        assert [row["case"] for row in csv.DictReader(stream)] == ["p-0", "p-1"]
    capsys.readouterr()
    assert run(["score", str(output), str(studies), "--json", "-"]) == 0
    assert {case["case"] for case in json.loads(capsys.readouterr().out)["cases"]} == {"p-0", "p-1"}


def test_reproduce_makes_the_same_bytes_and_says_when_it_cannot(
    studies: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert predict(studies, output, model) == 0
    manifest = next(output.rglob("*p0*_manifest.json"))
    again = ["reproduce", str(manifest), "--model", str(model)]
    assert run([*again, "--threads", "2"]) == 0
    capsys.readouterr()
    record = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**record, "map_sha256": "0" * 64}))
    assert run(again) == 1
    assert "the map is another" in capsys.readouterr().err
    manifest.write_text(json.dumps(record))
    assert run([*again, "--input", str(studies / "p-1" / "dsc.nii.gz")]) == 3
    assert "not the file" in capsys.readouterr().err
    assert (
        run(["reproduce", str(manifest), "--model", str(save_small_model(tmp_path / "other", seed=4))]) == 6
    )
    (tmp_path / "none.json").write_text("{}")
    assert run(["reproduce", str(tmp_path / "none.json")]) == 3
    single = tmp_path / "single.json"
    series = studies / "p-1" / "dsc.nii.gz"
    assert predict(series, tmp_path / "map.nii.gz", model, "--json", str(single)) == 0
    assert run(["reproduce", str(single), "--model", str(model)]) == 0


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_drops_what_is_under_way_and_the_next_run_goes_on(
    studies: Path, model: Path, tmp_path: Path, sent: int, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2, 8):
        write_study(studies / f"p-{number}.nii.gz", seed=number)
    output = tmp_path / "out"

    def send_when_one_is_done() -> None:
        # os.walk passes over folders that vanish meanwhile; Path.rglob raises, and no signal would come.
        while not any(name.endswith("_manifest.json") for _, _, names in os.walk(output) for name in names):
            time.sleep(0.01)
        os.kill(os.getpid(), sent)

    threading.Thread(target=send_when_one_is_done, daemon=True).start()
    assert predict(studies, output, model) == code
    assert not list(output.rglob("*.part"))
    rows = json.loads((output / "summary.json").read_text())["cases"]
    assert {row["status"] for row in rows} == {"done", "incomplete"}
    assert len(rows) == 8
    finished = hashes(output)
    assert predict(studies, output, model, "--quiet") == 0
    assert finished.items() <= hashes(output).items()
    assert len(hashes(output)) == 8
