"""More than one process: shards as sites run them, and Dask with a worker that is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from perfmap.engine.batch import run_batch
from perfmap.engine.batch_case import Job
from perfmap.engine.cases import as_study_list, discover
from perfmap.engine.cluster import dask_pool
from perfmap.engine.predict import PredictConfig
from perfmap.engine.summary import Summary, read_summary
from perfmap.errors import ConfigError
from perfmap.io.study_list import write_study_list
from tests.studies import hashes, save_small_model, truncate, write_study

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    for number in range(5):
        write_study(folder / f"p{number}.nii.gz", seed=number)
    truncate(write_study(folder / "broken.nii.gz", seed=9))
    return folder


def untimed(summary: Summary) -> list[object]:
    return [replace(row, seconds=0.0) for row in summary.rows]


@pytest.fixture(scope="module")
def whole(studies: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    """What one process makes of the studies."""
    output = tmp_path_factory.mktemp("whole") / "out"
    return output, run_batch(discover(studies), Job(model, output, PredictConfig(device="cpu")))


def shell_of(name: str) -> str:
    """The commands of an example as its engine would run them, for two shards."""
    text = (ROOT / "docs" / "cluster" / name).read_text("utf-8")
    if name == "slurm.sh":
        body = "for SLURM_ARRAY_TASK_ID in 1 2; do (SLURM_ARRAY_TASK_COUNT=2\n" + text + "\n) || exit; done\n"
        return f'LIST="$L" OUT="$O" MODEL="$M"\n{body}perfmap merge "$O" --partial-ok --quiet'
    if name == "main.nf":
        commands = re.findall(r'"(perfmap .*?)"', text)
        for old, new in (("${params.list}", '"$L"'), ("${params.out}", '"$O"'), ("${params.shards}", "2")):
            commands = [command.replace(old, new) for command in commands]
        predict, merge = commands
        return f'for i in 1 2; do {predict} --model "$M" || exit; done\n{merge}'
    merge, *predict = re.findall(r'"( ?(?:perfmap|--threads) .*?)"', text)
    line = "".join(predict)
    for old, new in (
        ("{params.list}", '"$L"'),
        ("{params.out}", '"$O"'),
        ("{params.n}", "2"),
        ("{params.number}", "$i"),
        ("{threads}", "1"),
    ):
        line, merge = line.replace(old, new), merge.replace(old, new)
    return f'for i in 1 2; do {line} --model "$M" || exit; done\n{merge}'


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name", ["slurm.sh", pytest.param("main.nf", marks=SLOW), pytest.param("Snakefile", marks=SLOW)]
)
def test_the_example_of_a_site_gives_what_one_process_gives(
    name: str, studies: Path, model: Path, whole: tuple[Path, Summary], tmp_path: Path
) -> None:
    write_study_list(as_study_list(discover(studies)), tmp_path / "cases.csv")
    perfmap = f'perfmap() {{ "{sys.executable}" -m perfmap "$@"; }}\n'
    script = (perfmap + shell_of(name)).replace("exec perfmap", "perfmap")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "L": str(tmp_path / "cases.csv"),
        "O": str(tmp_path / "out"),
        "M": str(model),
    }
    run = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert untimed(read_summary(tmp_path / "out" / "summary.json")) == untimed(whole[1])
    assert hashes(tmp_path / "out") == hashes(whole[0])


def test_examples_are_no_longer_than_they_say() -> None:
    for path in (ROOT / "docs" / "cluster").iterdir():
        if path.suffix != ".md":
            assert len(path.read_text("utf-8").splitlines()) <= 15, path.name


def test_a_killed_dask_worker_costs_no_case(
    studies: Path, model: Path, whole: tuple[Path, Summary], tmp_path: Path
) -> None:
    """A scheduler and two workers on 127.0.0.1; one is killed as soon as the first case is done."""
    distributed = pytest.importorskip("distributed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    port = distributed.utils.open_port()
    address = f"tcp://127.0.0.1:{port}"
    dask = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    worker = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        address,
        "--nthreads",
        "1",
        "--no-dashboard",
    ]
    quiet = {"env": environment, "cwd": tmp_path, "stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    processes = [subprocess.Popen([*dask, "--no-dashboard"], **quiet)]
    processes += [subprocess.Popen([*worker, "--no-nanny"], **quiet) for _ in range(2)]
    try:
        with distributed.Client(address, timeout=300) as client:
            client.wait_for_workers(2, timeout=300)
        killed = threading.Event()

        def kill_one(progress: object) -> None:
            if (
                progress.rows
                and not killed.is_set()
                and any(
                    row.status == "done"
                    for row in progress.rows  # type: ignore[attr-defined]
                )
            ):
                processes[1].send_signal(signal.SIGKILL)
                killed.set()

        job = Job(model, tmp_path / "out", PredictConfig(device="cpu"))
        summary = run_batch(
            discover(studies),
            job,
            pool=partial(dask_pool, scheduler=address, timeout=300),
            on_change=kill_one,
        )
        assert killed.is_set()
        assert processes[1].wait(10) == -signal.SIGKILL
        assert untimed(summary) == untimed(whole[1])
        assert hashes(job.output) == hashes(whole[0])
        assert not list(job.output.rglob("*.part"))
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="exclude"), dask_pool(scheduler="tcp://x", workers=2):
        pass
    began = time.monotonic()
    with (
        pytest.raises(ConfigError, match="does not answer"),
        dask_pool(scheduler="tcp://127.0.0.1:1", timeout=1),
    ):
        pass
    assert time.monotonic() - began < 60
