"""``perfmap inspect`` also says what the quality gate thinks of a series."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perfmap.cli import run
from perfmap.engine.inspect import judge_series
from perfmap.io.nifti import write_series
from tests.heads import head_series


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_series(head_series(shape=(64, 64, 8), n_times=50)[0], tmp_path / "dsc.nii.gz")
    return tmp_path / "dsc.nii.gz"


def test_inspect_shows_the_verdict(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.with_name("dsc.json").write_text('{"LossyImageCompression": "01"}')
    assert run(["inspect", str(path), "--json", "-", "--quiet"]) == 0
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert case["quality"]["status"] == "FAIL"
    assert any("lossy_source" in reason for reason in case["quality"]["reasons"])
    assert case["quality"]["findings"]["baseline_tsnr"]["value"] > 50
    assert run(["inspect", str(path), "--quiet"]) == 0
    assert "quality FAIL lossy_source" in capsys.readouterr().out


def test_inspect_without_quality(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(path), "--json", "-", "--quiet", "--no-quality"]) == 0
    (case,) = json.loads(capsys.readouterr().out)["cases"]
    assert "quality" not in case


def test_a_series_that_would_be_refused_fails_with_the_refusal() -> None:
    series, _ = head_series(shape=(32, 32, 3))
    from dataclasses import replace

    flat = replace(series, signal=series.signal[..., :1].repeat(series.n_times, axis=3))
    judged = judge_series(flat, {})
    assert judged["status"] == "FAIL"
    assert "no bolus" in judged["reasons"][0]
