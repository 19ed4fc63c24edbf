"""Prediction as a pure function: a random network is enough to show what must hold for every network."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from perfmap.engine.forward import run_network
from perfmap.engine.predict import PredictConfig, first_look, predict
from perfmap.engine.train_config import default_inputs, network_arguments
from perfmap.models import build_network
from perfmap.models.card import InputContract, ModelCard, OutputContract
from perfmap.models.checkpoint import Checkpoint
from perfmap.physics.captk import brightest_level
from perfmap.preprocess.pipeline import Validity, prepare_series
from perfmap.series import Series
from tests.heads import head_series
from tests.models.test_checkpoint import card_fields

CPU = PredictConfig(device="cpu")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(3)
    network = build_network("unet-gru", n_times=45, widths=(8, 8, 16, 16, 16)).eval().requires_grad_(False)
    card = ModelCard(**{**card_fields(), "inputs": InputContract(matrix=64)}, sha256="0" * 64)
    return Checkpoint(card=card, network=network)


@pytest.fixture(scope="module")
def series() -> Series:
    return head_series(shape=(48, 60, 9))[0]


def test_map_lies_on_the_series_grid_and_is_zero_outside_of_the_brain(
    series: Series, checkpoint: Checkpoint
) -> None:
    prediction = predict(series, checkpoint, CPU)
    volume = prediction.maps["nrcbv"]
    assert volume.shape == series.signal.shape[:3]
    assert np.array_equal(volume.affine, series.affine)
    assert (volume.array[~prediction.prepared.mask] == 0).all()
    assert volume.array[prediction.prepared.mask].std() > 0
    assert np.array_equal(prediction.maps["validity"].array == Validity.VALID, prediction.prepared.mask)


def test_nan_outside_where_asked_for(series: Series, checkpoint: Checkpoint) -> None:
    prediction = predict(series, checkpoint, PredictConfig(device="cpu", outside_is_nan=True))
    assert np.array_equal(np.isnan(prediction.maps["nrcbv"].array), ~prediction.prepared.mask)


@pytest.mark.parametrize("factor", [0.01, 3.0, 512.0])
def test_a_factor_on_the_signal_changes_nothing(
    series: Series, checkpoint: Checkpoint, factor: float
) -> None:
    one = predict(series, checkpoint, CPU).maps["nrcbv"].array
    scaled = replace(series, signal=series.signal * np.float32(factor))
    two = predict(scaled, checkpoint, CPU).maps["nrcbv"].array
    assert np.abs(one - two).max() <= 1e-4 * np.percentile(one, 99)


def test_threads_do_not_change_a_bit(series: Series, checkpoint: Checkpoint) -> None:
    maps = [predict(series, checkpoint, CPU, threads=n).maps["nrcbv"].array for n in (1, 2, 5)]
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])


def test_a_thick_axis_elsewhere_turns_the_slices_not_the_map(checkpoint: Checkpoint) -> None:
    """The same slices, stacked along x instead of z, give the same maps."""
    as_given = checkpoint.card.model_copy(update={"outputs": OutputContract(reference="network")})
    checkpoint = replace(checkpoint, card=as_given)
    series, _ = head_series(shape=(64, 64, 5))
    turned = Series(
        signal=np.ascontiguousarray(np.moveaxis(series.signal, 2, 0)),
        affine=np.diag([6.0, 3.0, 3.0, 1.0]),
        time_step=series.time_step,
        repetition_time=series.repetition_time,
    )
    mask = predict(series, checkpoint, CPU).prepared.mask
    one = predict(series, checkpoint, CPU, mask=mask).maps["nrcbv"].array
    two = predict(turned, checkpoint, CPU, mask=np.moveaxis(mask, 2, 0)).maps["nrcbv"].array
    assert np.allclose(np.moveaxis(two, 0, 2), one, atol=1e-5)


def test_progress_ends_at_all_slices(series: Series, checkpoint: Checkpoint) -> None:
    seen: list[tuple[int, int]] = []
    predict(series, checkpoint, CPU, on_slice=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (9, 9)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 20, 33])
def test_the_first_look_is_at_different_slices_spread_evenly_about_the_middle(n: int) -> None:
    looked = first_look(range(100, 100 + n))
    assert len(set(looked)) == len(looked) == min(n, 4)
    assert set(looked) <= set(range(100, 100 + n))
    assert abs(np.mean(looked) - (99.5 + n / 2)) <= 0.5
    assert np.ptp(np.diff(looked)) <= 1 if n > 1 else True


def test_a_map_whose_scale_is_that_of_its_brightest_voxels_has_them_at_their_level(
    series: Series, checkpoint: Checkpoint
) -> None:
    def ap_rcbv_of(**reference: Any) -> np.ndarray:
        outputs = OutputContract(quantity="ap_rcbv", unit="a.u.", scale=50.0, **reference)
        card = checkpoint.card.model_copy(update={"outputs": outputs})
        found = predict(series, Checkpoint(card, checkpoint.network), CPU)
        assert any("one patient's own scale" in note for note in found.notes) == ("brightest" in reference)
        return np.asarray(found.maps["ap_rcbv"].array)

    one, two = ap_rcbv_of(reference="network"), ap_rcbv_of(reference="brightest", brightest=240.0)
    assert brightest_level(two) == pytest.approx(240.0, rel=1e-5)
    np.testing.assert_allclose(two, one * (240.0 / brightest_level(one)), rtol=1e-5)


def test_where_brain_is_a_speck_of_the_series_the_network_s_own_scale_is_kept_with_a_note(
    series: Series, checkpoint: Checkpoint
) -> None:
    speck = np.zeros(series.signal.shape[:3], dtype=bool)
    speck[20:28, 26:34, 3:6] = True
    outputs = OutputContract(quantity="ap_rcbv", unit="a.u.", reference="brightest", brightest=240.0)
    card = checkpoint.card.model_copy(update={"outputs": outputs})
    found = predict(series, Checkpoint(card, checkpoint.network), CPU, mask=speck)
    plain = predict(series, checkpoint, CPU, mask=speck)
    assert any("keeps the network's own scale" in note for note in found.notes)
    ratio = found.maps["ap_rcbv"].array[speck] / plain.maps["nrcbv"].array[speck]
    assert np.ptp(ratio) < 1e-4 * ratio.mean()


def test_a_slice_is_read_alike_whichever_others_are_read(series: Series) -> None:
    torch.manual_seed(0)
    inputs = default_inputs("voxel-unet")
    network = build_network("voxel-unet", **network_arguments(inputs)).eval()
    torch.nn.init.normal_(network.head.weight, std=0.1)
    prepared = prepare_series(series, inputs)
    cpu = torch.device("cpu")
    everything = run_network(network, prepared, range(9), device=cpu, threads=3)
    some = run_network(network, prepared, [1, 6], device=cpu, threads=1)
    assert np.array_equal(some, everything[[1, 6]])
    assert some[:, 0].std() > 0
