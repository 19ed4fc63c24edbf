"""perfmap as a BIDS App: participants by label, runs side by side in one folder, one summary of all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perfmap.cli import run
from perfmap.io.lock import locked_folder
from tests.studies import hashes, save_small_model, write_study


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture
def bids(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    for number, label in enumerate(("01", "02", "03")):
        write_study(data / f"sub-{label}" / "perf" / f"sub-{label}_dsc.nii.gz", seed=number)
    write_study(data / "sub-01" / "ses-2" / "perf" / "sub-01_ses-2_dsc.nii.gz", seed=9)
    (data / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    return data


def app(bids: Path, output: Path, model: Path, *arguments: str) -> int:
    return run(["bids-app", str(bids), str(output), *arguments, "--model", str(model), "--n-cpus", "1"])


def test_participants_side_by_side_and_the_group_give_what_one_run_gives(
    bids: Path, model: Path, tmp_path: Path
) -> None:
    assert app(bids, tmp_path / "whole", model, "participant") == 0
    output = tmp_path / "out"
    with locked_folder(output, part="sub-03"):  # another participant is under way
        assert app(bids, output, model, "participant", "--participant-label", "01", "02") == 0
        assert app(bids, output, model, "participant", "--participant_label", "sub-03") == 2
    assert app(bids, output, model, "participant", "--participant_label", "sub-03") == 0
    assert hashes(output) == hashes(tmp_path / "whole")
    assert app(bids, output, model, "group") == 0
    one, other = (json.loads((place / "summary.json").read_text()) for place in (tmp_path / "whole", output))
    assert [row["output"] for row in one["cases"]] == [row["output"] for row in other["cases"]]
    assert other["counts"]["done"] == 4


def test_a_session_alone(bids: Path, model: Path, tmp_path: Path) -> None:
    assert app(bids, tmp_path / "out", model, "participant", "--session-label", "2") == 0
    assert list(hashes(tmp_path / "out")) == ["sub-01/ses-2/perf/sub-01_ses-2_desc-small_nrcbv.nii.gz"]


def test_what_is_asked_for_in_vain_is_refused(
    bids: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert app(bids, output, model, "participant", "--participant-label", "04") == 3
    assert "no DSC series of participant 04" in capsys.readouterr().err
    assert app(bids, output, model, "participant", "04") == 2
    assert app(bids / "sub-01", output, model, "participant") == 3
    assert "no BIDS data set" in capsys.readouterr().err
    assert app(bids, output, model, "group") == 3
    assert app(bids, output, model, "group", "--participant-label", "01") == 2
    assert app(bids, output, model, "everyone") == 2
    assert not output.exists()
