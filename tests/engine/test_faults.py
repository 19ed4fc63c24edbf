"""Faults injected for real: afterwards no half file, every finished map as in an undisturbed run, and a way on."""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from benchmarks.soak import soak
from perfmap.engine import batch, batch_case
from perfmap.engine import predict_file as door
from perfmap.engine.batch import run_batch
from perfmap.engine.batch_case import Job
from perfmap.engine.cases import discover
from perfmap.engine.predict import PredictConfig
from perfmap.engine.summary import Summary
from perfmap.errors import InputError
from perfmap.io.nifti import write_series
from tests.heads import head_series
from tests.studies import hashes, save_small_model, write_study

ROOT = Path(__file__).parents[2]
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    for number in range(3):
        write_study(tmp_path / "in" / f"p{number}.nii.gz", seed=number)
    return tmp_path / "in"


@pytest.fixture
def job(model: Path, tmp_path: Path) -> Job:
    return Job(model, tmp_path / "out", PredictConfig(device="cpu"))


@pytest.fixture(scope="module")
def wanted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Maps of an undisturbed run."""
    place = tmp_path_factory.mktemp("undisturbed")
    for number in range(3):
        write_study(place / "in" / f"p{number}.nii.gz", seed=number)
    run_batch(discover(place / "in"), Job(model, place / "out", PredictConfig(device="cpu")))
    return hashes(place / "out")


def statuses(summary: Summary) -> list[str]:
    return [row.status for row in summary.rows]


def assert_nothing_half(output: Path, wanted: dict[str, str]) -> None:
    found = hashes(output)
    assert found.items() <= wanted.items()
    assert not list(output.rglob("*.part"))
    for path in output.rglob("*.json"):
        json.loads(path.read_text())


@contextmanager
def limited(kind: int, soft: int) -> Iterator[None]:
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def have_blas_buffers(n: int) -> None:
    """Let OpenBLAS have buffers for `n` threads at once: refused one, it ends the process instead of raising."""
    matrix, meet = np.ones((800, 800)), threading.Barrier(n)

    def multiply() -> None:
        meet.wait(60)
        for _ in range(10):
            np.dot(matrix, matrix)

    threads = [threading.Thread(target=multiply) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_kill_9_at_random_moments() -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "kill9.py"), "--trials", "2", "--cases", "3"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_files_that_may_not_grow_fail_their_case_and_leave_nothing_half(
    studies: Path, job: Job, wanted: dict[str, str]
) -> None:
    """A limit on the size of files stands for a quota: the map does not fit."""
    refused, summary = "", None
    with limited(resource.RLIMIT_FSIZE, 3000):
        try:
            summary = run_batch(discover(studies), job)
        except InputError as error:  # the summary may be too long as well
            refused = str(error)
    if summary is not None:
        assert statuses(summary) == ["failed"] * 3
        assert summary.exit_code() == 4
        refused = summary.rows[0].reason
    assert "cannot write" in refused
    assert_nothing_half(job.output, {})
    assert statuses(run_batch(discover(studies), job)) == ["done"] * 3
    assert hashes(job.output) == wanted


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A tmpfs of its own; skipped where nothing may be mounted."""
    folder.mkdir()
    mount = shutil.which("mount")
    if not IS_ROOT or mount is None:
        pytest.skip("only root mounts")
    made = subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False)
    if made.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk_is_named_and_the_rerun_completes(
    studies: Path, job: Job, wanted: dict[str, str], tmp_path: Path
) -> None:
    with mounted(tmp_path / "disk", "size=512k") as disk:
        job = replace(job, output=disk / "out")
        filler = disk / "filler"
        with filler.open("wb") as stream, suppress(OSError):
            while True:
                os.write(stream.fileno(), bytes(4096))
        with filler.open("r+b") as stream:
            stream.truncate(filler.stat().st_size - 40_000)  # what is left is too little for three cases
        with suppress(InputError):  # not even the summary may fit
            run_batch(discover(studies), job)
        done = list(job.output.rglob("*_manifest.json"))
        assert len(done) < 3
        assert_nothing_half(job.output, wanted)
        filler.unlink()
        assert set(statuses(run_batch(discover(studies), job))) <= {"done", "skipped"}
        assert hashes(job.output) == wanted


def test_a_disk_that_turns_read_only_is_refused_with_one_line(
    studies: Path, job: Job, wanted: dict[str, str], tmp_path: Path
) -> None:
    with mounted(tmp_path / "disk", "size=8m") as disk:
        job = replace(job, output=disk / "out")
        run_batch(discover(studies / "p0.nii.gz"), job)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(InputError, match="cannot write"):
            run_batch(discover(studies), job)
        assert_nothing_half(job.output, wanted)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        assert statuses(run_batch(discover(studies), job)) == ["skipped", "done", "done"]
        assert hashes(job.output) == wanted


def test_a_damaged_stream_fails_alone(studies: Path, job: Job, wanted: dict[str, str]) -> None:
    path = studies / "p1.nii.gz"
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 64]) + whole[middle + 64 :]
    )
    summary = run_batch(discover(studies), job, lanes=2)
    assert statuses(summary) == ["done", "failed", "done"]
    assert "damaged" in summary.rows[1].reason
    path.write_bytes(whole)
    assert statuses(run_batch(discover(studies), job)) == ["skipped", "done", "skipped"]
    assert hashes(job.output) == wanted


@pytest.mark.parametrize(
    ("change", "said"), [("rewrite", "changed while it was read"), ("remove", "does not exist")]
)
def test_an_input_that_changes_or_vanishes_while_it_is_read_gives_no_map(
    studies: Path, job: Job, monkeypatch: pytest.MonkeyPatch, change: str, said: str, wanted: dict[str, str]
) -> None:
    path = studies / "p1.nii.gz"
    whole, read_series = path.read_bytes(), door.read_series

    def meddle(source: Path, **times: float | None) -> object:
        series = read_series(source, **times)
        if source == path:
            if change == "remove":
                path.unlink()
            else:
                write_study(path, seed=55)
        return series

    monkeypatch.setattr(door, "read_series", meddle)
    summary = run_batch(discover(studies), job)
    assert statuses(summary) == ["done", "failed", "done"]
    assert said in summary.rows[1].reason
    monkeypatch.undo()
    path.write_bytes(whole)
    assert statuses(run_batch(discover(studies), job)) == ["skipped", "done", "skipped"]
    assert hashes(job.output) == wanted


def test_memory_that_runs_out_is_named_with_what_is_needed(
    studies: Path, job: Job, wanted: dict[str, str]
) -> None:
    """A limit on the process's own data; the large series is tried beside the others, then alone."""
    header = nib.Nifti1Header()
    header.set_data_shape((512, 512, 20, 25))
    header.set_data_dtype(np.int16)
    header.set_xyzt_units("mm", "sec")
    header["pixdim"][1:5] = (0.5, 0.5, 5.0, 1.5)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    header.set_sform(np.diag([0.5, 0.5, 5.0, 1.0]), 1)
    with (studies / "large.nii").open("wb") as stream:
        stream.write(header.binaryblock + bytes(4))
        stream.truncate(352 + 2 * 512 * 512 * 20 * 25)  # sparse: 262 MB that take no room on disk
    run_batch(discover(studies / "p0.nii.gz"), job)  # so that libraries have what they allocate once
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    used = 1024 * int(status["VmData"].split()[0])
    with limited(resource.RLIMIT_DATA, used + 300_000_000):
        summary = run_batch(discover(studies), job, lanes=2)
    rows = {row.case: row for row in summary.rows}
    assert rows["large"].status == "failed"
    assert "out of memory: large needs about" in rows["large"].reason
    assert "--threads" in rows["large"].reason
    (studies / "large.nii").unlink()
    run_batch(discover(studies), job)
    assert hashes(job.output) == wanted


def test_where_memory_does_not_suffice_for_all_lanes_the_cases_are_done_one_by_one(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real limit, and an estimate that is too low: three large series are in memory together, or would be."""
    for number in range(3):
        series, _ = head_series(shape=(128, 128, 8), n_times=80, seed=number)
        write_series(series, tmp_path / "large" / f"p{number}.nii", dtype=np.int16)
    size = 4 * 128 * 128 * 8 * 80  # above 32 MB: what is freed goes back at once
    cases = discover(tmp_path / "large")
    undisturbed = replace(job, output=tmp_path / "undisturbed")
    together, meet = [True], threading.Barrier(3)
    read_series = door.read_series

    def read_together(source: Path, **times: float | None) -> object:
        try:
            return read_series(source, **times)
        finally:
            if together:
                meet.wait(60)
                together.clear()

    monkeypatch.setattr(door, "read_series", read_together)
    monkeypatch.setattr(batch, "memory_free", lambda: math.inf)
    run_batch(cases, undisturbed, lanes=3)  # libraries have what they allocate once for each thread
    have_blas_buffers(3)
    refused: list[str] = []
    monkeypatch.setattr(batch_case, "memory_hint", lambda case: refused.append(case.name) or "")
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    used = 1024 * int(status["VmData"].split()[0])
    for share in (2.6, 2.0, 1.4):  # below, not even a thread could begin, and Python would wait for it
        together[:] = [True]
        meet.reset()
        with limited(resource.RLIMIT_DATA, used + int(share * size)):
            summary = run_batch(cases, replace(job, force=True), lanes=3)
        if refused:
            break
    assert refused, summary.rows
    assert [row.reason for row in summary.rows] == [""] * 3
    assert statuses(summary) == ["done"] * 3
    assert hashes(job.output) == hashes(undisturbed.output)


def test_a_clock_that_jumps_changes_nothing(
    studies: Path, job: Job, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, str]
) -> None:
    future = time.time() + 1e8
    os.utime(studies / "p0.nii.gz", (future, future))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    run = replace(job, quiet_seconds=60.0)
    assert statuses(run_batch(discover(studies), run)) == ["done"] * 3
    assert hashes(job.output) == wanted
    monkeypatch.undo()
    assert statuses(run_batch(discover(studies / "p0.nii.gz"), run)) == ["skipped"]


def test_home_need_not_be_writable(studies: Path, job: Job, wanted: dict[str, str]) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HOME": "/proc/none",
        "XDG_CACHE_HOME": "/proc/none",
    }
    command = [sys.executable, "-m", "perfmap", "predict", str(studies), "-o", str(job.output)]
    command += ["--model", str(job.model), "--quiet"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert hashes(job.output) == wanted


def test_two_nights_over_a_folder_that_fills(tmp_path: Path) -> None:
    found = soak(tmp_path, nights=2, studies=6)
    assert (found["missing"], found["mapped_again"], found["not_wanted"]) == ([], [], [])
    assert found["maps"] == found["good_studies"] == found["mapped_once"]
    assert found["failed_at_the_end"] == 2
