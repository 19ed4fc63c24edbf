"""``perfmap simulate`` through the command line: what it writes and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perfmap.cli import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "simulated"
    assert run(["simulate", str(output), "--geometry", "native", "--slices", "1", "--quiet"]) == 0
    return output


def test_one_plain_case_is_the_default(folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == ["plain-0000"]
    assert (folder / "plain-0000" / "dsc.nii.gz").is_file()


def test_json_lists_the_cases_and_a_second_run_leaves_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    arguments = ["simulate", str(folder), "--geometry", "native", "--slices", "1", "--json", "-"]
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out) == {"cases": [str(folder / "plain-0000")]}


def test_replay_with_a_change(folder: Path, tmp_path: Path) -> None:
    record = folder / "plain-0000" / "case.json"
    assert run(["simulate", str(tmp_path), "--replay", str(record), "--set", "flip_angle=30", "--quiet"]) == 0
    sidecar = json.loads((tmp_path / "plain-0000_flip_angle-30" / "dsc.json").read_text("utf-8"))
    assert sidecar["FlipAngle"] == 30


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--regime", "nonsense"], 2, "unknown regime 'nonsense'"),
        (["--set", "echo_time=0.04"], 2, "give --replay CASE.json too"),
        (["--cohort", "paper", "--slices", "3"], 2, "leave out --slices"),
        (
            ["--cohort", "paper", "--regime", "noisy", "--geometry", "stack"],
            2,
            "leave out --regime, --geometry",
        ),
        (["--replay", "case.json", "--geometry", "stack"], 2, "leave out --geometry"),
        (["--replay", "case.json", "--n", "2"], 2, "leave out --n"),
        (["--cohort", "paper", "--replay", "case.json"], 2, "contradict each other"),
        (["--geometry", "native", "--slices", "99"], 2, "has 20 slices, 99 were asked for"),
        (["--geometry", "round"], 2, "round"),
        (["--replay", "nowhere/case.json"], 3, "case.json"),
        (["--geometry", "native", "--slices", "2"], 2, "holds another case; give --overwrite"),
    ],
)
def test_refusals(
    folder: Path, options: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    before = sorted(folder.rglob("*"))
    assert run(["simulate", str(folder), *options]) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert shown.out == ""
    assert sorted(folder.rglob("*")) == before


def test_an_echo_time_of_more_than_a_second_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = next(folder.rglob("case.json"))
    options = ["--replay", str(record), "--set", "echo_time=30"]
    assert run(["simulate", str(tmp_path / "out"), *options]) == 2
    assert "echo_time" in capsys.readouterr().err
