"""Prediction with a network that corrects the first-pass map and tells white matter and its own uncertainty."""

import threading
import time

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from perfmap.engine.predict import PredictConfig, find_white_matter, plain_nrcbv, predict
from perfmap.engine.train_config import default_inputs, network_arguments
from perfmap.models import build_network
from perfmap.models.card import ModelCard, OutputContract, Uncertainty
from perfmap.models.checkpoint import Checkpoint
from perfmap.phantom.case import draw_case, series_of, simulate_case
from perfmap.preprocess.features import MAPS, SCALARS
from perfmap.series import Series
from tests.models.test_checkpoint import card_fields

INPUTS = default_inputs("voxel-unet")
CPU = PredictConfig(device="cpu", motion_correction="off")


class Rigged(nn.Module):
    """Gives the first-pass map it was told, one standard deviation, and white matter where voxels are bright."""

    def forward(self, channels: Tensor, context: Tensor) -> Tensor:
        first_pass = channels[:, INPUTS.n_times]
        bright = channels[:, INPUTS.n_times + MAPS.index("brightness")] - 1.0
        self.known = context[:, INPUTS.n_times + SCALARS.index("white_matter_known")]
        self.edges = channels.shape[-2:]
        return torch.stack([first_pass, torch.full_like(first_pass, np.log(0.2)), bright], dim=1)


def checkpoint(network: nn.Module) -> Checkpoint:
    fields = card_fields() | {
        "inputs": INPUTS,
        "outputs": OutputContract(uncertainty=Uncertainty(sd_factor=1.5, correlation_length_mm=3.0)),
    }
    return Checkpoint(card=ModelCard(**fields, sha256="0" * 64), network=network.eval())


@pytest.fixture(scope="module")
def series() -> Series:
    case = simulate_case(draw_case(np.random.default_rng(4), regime="plain", geometry="native", n_slices=5))
    return series_of(case)


def test_a_network_that_corrects_nothing_gives_the_conventional_map(series: Series) -> None:
    torch.manual_seed(0)
    untrained = build_network("voxel-unet", **network_arguments(INPUTS))
    prediction = predict(series, checkpoint(untrained), CPU)
    plain = plain_nrcbv(prediction.prepared).array
    clear = prediction.prepared.mask & (plain > 0.5)
    assert np.allclose(prediction.maps["nrcbv"].array[clear], plain[clear], rtol=0.01)


def test_white_matter_that_the_network_finds_is_one(series: Series) -> None:
    network = Rigged()
    prediction = predict(series, checkpoint(network), CPU)
    white = prediction.white_matter
    assert white is not None
    assert white.mask.sum() > 1000
    assert prediction.maps["nrcbv"].array[white.mask].mean() == pytest.approx(1.0, abs=1e-3)
    assert (network.known == 1.0).all()  # the second look, in units of white matter
    assert max(network.edges) < max(series.signal.shape[:2])  # cropped to the brain


class Unsure(Rigged):
    """Holds nothing for white matter, though some voxels for likelier than others."""

    def forward(self, channels: Tensor, context: Tensor) -> Tensor:
        return super().forward(channels, context) - torch.tensor([0.0, 0.0, 4.0]).view(1, 3, 1, 1)


def test_a_network_that_knows_no_white_matter_leaves_it_to_the_shape_of_the_brain(series: Series) -> None:
    prediction = predict(series, checkpoint(Unsure()), CPU)
    by_shape = find_white_matter(prediction.prepared)
    assert prediction.white_matter is not None
    assert np.array_equal(prediction.white_matter.mask, by_shape.mask)
    surer = predict(series, checkpoint(Rigged()), CPU).white_matter
    assert surer is not None
    assert not np.array_equal(surer.mask, by_shape.mask)


def test_standard_deviation_has_the_maps_scale_and_the_cards_factor(series: Series) -> None:
    prediction = predict(series, checkpoint(Rigged()), CPU)
    spread = prediction.maps["nrcbv_sd"].array
    inside = prediction.prepared.mask
    assert np.allclose(spread[inside], 1.5 * 0.2, rtol=0.02)  # white matter is 1 already at the second look
    assert (spread[~inside] == 0).all()


def test_the_same_bytes_on_one_thread_and_on_three(series: Series) -> None:
    torch.manual_seed(1)
    network = build_network("voxel-unet", **network_arguments(INPUTS))
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.05)
    one, three = (predict(series, checkpoint(network), CPU, threads=n).maps["nrcbv"].array for n in (1, 3))
    assert one.tobytes() == three.tobytes()


class OneAtATime(nn.Module):
    """A network for which memory suffices once, not twice."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.active, self.refused, self.lock = network, 0, 0, threading.Lock()

    def forward(self, channels: Tensor, context: Tensor) -> Tensor:
        with self.lock:
            self.active += 1
            self.refused += self.active > 1
            if self.active > 1:
                self.active -= 1
                raise RuntimeError(
                    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
                )
        time.sleep(0.01)
        try:
            return self.network(channels, context)
        finally:
            with self.lock:
                self.active -= 1


def test_where_memory_runs_out_blocks_are_computed_one_by_one(series: Series) -> None:
    torch.manual_seed(1)
    network = build_network("voxel-unet", **network_arguments(INPUTS))
    scarce = OneAtATime(network)
    maps = [predict(series, checkpoint(one), CPU, threads=3).maps["nrcbv"].array for one in (network, scarce)]
    assert scarce.refused
    assert maps[0].tobytes() == maps[1].tobytes()
    scarce.active = 1  # by another program: not even one fits
    with pytest.raises(RuntimeError, match="allocate memory"):
        predict(series, checkpoint(scarce), CPU, threads=3)
