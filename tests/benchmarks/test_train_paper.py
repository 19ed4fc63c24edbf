"""The paper's networks: what begins with what, and what it is called."""

from __future__ import annotations

from benchmarks.evidence.paper import JUDGED, said_of
from benchmarks.train_paper import Training
from perfmap.models.checkpoint import read_card, shipped_models


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
