"""Picture and report of a prediction, from a series to the page."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from perfmap.engine.predict import PredictConfig
from perfmap.engine.predict_file import Done, predict_file
from perfmap.io.nifti import write_series
from perfmap.models import build_network
from perfmap.models.card import InputContract, ModelCard, Uncertainty
from perfmap.models.checkpoint import Checkpoint
from perfmap.quantities import RESEARCH_ONLY
from perfmap.report.prediction import write_prediction_figure, write_prediction_report
from tests.heads import head_series
from tests.models.test_checkpoint import card_fields


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A network with random weights on a series of a patient whose name must not be printed."""
    torch.manual_seed(3)
    network = build_network("unet-gru", n_times=45, widths=(4, 4, 8, 8, 8)).eval().requires_grad_(False)
    card = ModelCard(**{**card_fields(), "inputs": InputContract(matrix=32)}, sha256="5e" * 32)
    folder = tmp_path_factory.mktemp("DoeJane")
    write_series(head_series(shape=(32, 32, 3), n_unsteady=2)[0], folder / "DoeJane.nii.gz")
    checkpoint = Checkpoint(card=card, network=network)
    return predict_file(
        folder / "DoeJane.nii.gz", folder / "map.nii.gz", checkpoint, PredictConfig(device="cpu")
    )


def test_report_says_what_a_reader_needs_and_not_who_the_patient_is(done: Done, tmp_path: Path) -> None:
    write_prediction_report(done, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    sidecar = done.manifest["sidecar"]
    needed = [RESEARCH_ONLY, "5e" * 32, sidecar["Input"]["sha256"], sidecar["Model"]["TrainingData"]]
    for text in (*needed, "Time step, s", "Echo time, s", "first-pass integral"):
        assert text in page
    assert "DoeJane" not in page


def test_the_standard_deviation_is_drawn_where_it_was_written(done: Done, tmp_path: Path) -> None:
    nrcbv = done.prediction.maps["nrcbv"]
    spread = replace(nrcbv, array=np.full_like(nrcbv.array, 0.3))
    maps = {**done.prediction.maps, "nrcbv_sd": spread}
    told = replace(done, prediction=replace(done.prediction, maps=maps), sd_path=tmp_path / "map_sd.nii.gz")
    write_prediction_report(told, tmp_path / "told.html")
    write_prediction_report(done, tmp_path / "none.html")
    assert "Slices of the standard deviation of the nrcbv map" in (tmp_path / "told.html").read_text("utf-8")
    page = (tmp_path / "none.html").read_text("utf-8")
    assert "standard deviation" not in page
    for said in ("to 13, counted from 0", "not given", "Predict, s"):
        assert said in page
    assert len(_pictures(tmp_path / "told.html")) == len(_pictures(tmp_path / "none.html")) + 1


def test_how_the_standard_deviation_is_read_stands_in_words(done: Done, tmp_path: Path) -> None:
    sidecar = done.manifest["sidecar"]
    model = {**sidecar["Model"], "Uncertainty": Uncertainty(correlation_length_mm=15.3).model_dump()}
    told = replace(done, manifest={**done.manifest, "sidecar": {**sidecar, "Model": model}})
    write_prediction_report(told, tmp_path / "told.html")
    write_prediction_report(done, tmp_path / "none.html")
    page = (tmp_path / "told.html").read_text("utf-8")
    assert "Correlation length, mm" in page
    assert "15.3" in page
    assert "{&#39;" not in page
    assert "{'" not in page
    assert "Correlation length" not in (tmp_path / "none.html").read_text("utf-8")


def test_picture_and_report_are_the_same_for_the_same_prediction(done: Done, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_prediction_report(done, tmp_path / f"{name}.html")
        write_prediction_figure(done, tmp_path / f"{name}.png")
    for kind in ("html", "png"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert (tmp_path / "a.png").read_bytes() in _pictures(tmp_path / "a.html")


def _pictures(page: Path) -> list[bytes]:
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page.read_text("utf-8"))
    return [base64.b64decode(each) for each in found]


def test_voxels_without_reading_reach_the_picture(done: Done, tmp_path: Path) -> None:
    validity = done.prediction.prepared.validity.copy()
    inside = np.argwhere(validity == 1)
    validity[tuple(inside[: len(inside) // 4].T)] = 3
    maps = {**done.prediction.maps, "validity": replace(done.prediction.maps["validity"], array=validity)}
    prepared = replace(done.prediction.prepared, validity=validity)
    spoiled = replace(done.prediction, maps=maps, prepared=prepared)
    write_prediction_figure(done, tmp_path / "whole.png")
    write_prediction_figure(replace(done, prediction=spoiled), tmp_path / "spoiled.png")
    greys = [_count_grey(tmp_path / name) for name in ("whole.png", "spoiled.png")]
    assert greys[0] < 2000
    assert greys[1] > 20_000


def _count_grey(path: Path) -> int:
    pixels = np.asarray(Image.open(path).convert("RGB"), dtype=int)
    return int((np.abs(pixels - (0x6F, 0x75, 0x7C)) <= 2).all(axis=-1).sum())
