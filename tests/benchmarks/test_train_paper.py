"""The paper's networks: what begins with what, and what it is called."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.evidence.paper import JUDGED, said_of
from benchmarks.train_paper import Training, begins_with_present_weights, ship
from perfmap.models.checkpoint import read_card, save_checkpoint, shipped_models
from tests.models.test_checkpoint import card_fields

PARENT, CHILD = Training("conv3d", "ap_rcbv", "log-ratio"), Training("conv3d", "nrcbv", "log-ratio")


def write_run(runs: Path, training: Training, value: float, *, begun_with: Training | None = None) -> None:
    fields: dict[str, Any] = {**card_fields(), "name": training.name}
    if begun_with is not None:
        start = read_card(runs / begun_with.name / "model")
        fields["training"]["started_from"] = {"name": start.name, "sha256": start.sha256}
    save_checkpoint(runs / training.name / "model", {"weight": torch.tensor([value])}, fields)


def test_networks_of_the_truth_begin_with_their_twin_and_say_so_when_shipped() -> None:
    better = "log-ratio"
    for architecture in ("unet-gru", "convlstm", "conv3d"):
        truth = Training(architecture, "nrcbv", better)
        before = truth.begins_with
        assert before == Training(architecture, "ap_rcbv", better)
        assert before.begins_with is None
        child, parent = (read_card(shipped_models()[run.shipped_as(better)]) for run in (truth, before))
        assert child.training.started_from is not None
        assert child.training.started_from.model_dump() == {"name": parent.name, "sha256": parent.sha256}


def test_the_paper_s_normalisation_is_named_where_another_is_better() -> None:
    assert Training("unet-gru", "ap_rcbv", "training-max").shipped_as("training-max") == "unet-gru-ap-rcbv"
    assert Training("unet-gru", "ap_rcbv", "training-max").shipped_as("log-ratio") in shipped_models()


def test_networks_that_read_the_series_alike_are_ranked() -> None:
    errors = {JUDGED: 0.2, "conv3d-ap-rcbv": 0.1, "unet-gru-ap-rcbv-training-max": 0.05}
    ranking, *trained = said_of({name: {"nrmse": error} for name, error in errors.items()})
    assert ranking.startswith("Ranking by NRMSE here: Conv3D, UNet+GRU;")
    assert len(trained) == len(errors)


def test_shipped_models_are_named_shortly_and_name_their_start_so(tmp_path: Path) -> None:
    write_run(tmp_path, PARENT, 1.0)
    write_run(tmp_path, CHILD, 2.0, begun_with=PARENT)
    ship(Namespace(output=tmp_path, ship=tmp_path / "weights"), [PARENT, CHILD], "log-ratio")
    parent, child = (read_card(tmp_path / "weights" / name) for name in ("conv3d-ap-rcbv", "conv3d-paper"))
    assert (parent.name, child.name) == ("conv3d-ap-rcbv", "conv3d-paper")
    assert child.training.started_from is not None
    assert child.training.started_from.model_dump() == {"name": parent.name, "sha256": parent.sha256}


def test_what_began_with_weights_that_have_changed_since_is_not_shipped(tmp_path: Path) -> None:
    write_run(tmp_path, PARENT, 1.0)
    assert begins_with_present_weights(tmp_path, CHILD)  # nothing begun yet
    write_run(tmp_path, CHILD, 2.0, begun_with=PARENT)
    assert begins_with_present_weights(tmp_path, CHILD)
    write_run(tmp_path, PARENT, 1.5)
    assert not begins_with_present_weights(tmp_path, CHILD)
    with pytest.raises(SystemExit, match="train it again"):
        ship(Namespace(output=tmp_path, ship=tmp_path / "weights"), [CHILD], "log-ratio")
