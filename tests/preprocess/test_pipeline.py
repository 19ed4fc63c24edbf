"""The way from a series to a network's input: what must be found, and what must not matter."""

from dataclasses import replace

import numpy as np
import pytest

from perfmap.engine.train_config import default_inputs
from perfmap.errors import InputError
from perfmap.models.card import InputContract
from perfmap.preprocess.pipeline import Validity, curves_of, mean_curve, network_slice, prepare_series
from perfmap.preprocess.resample import to_matrix
from tests.heads import GREY, WHITE, head_series

INPUTS = InputContract(matrix=64)


def test_brain_bolus_and_ratio_of_tissues_are_found() -> None:
    series, nrcbv = head_series()
    prepared = prepare_series(series, INPUTS)
    truth = nrcbv > 0
    assert 2 * (prepared.mask & truth).sum() / (prepared.mask.sum() + truth.sum()) > 0.97
    assert abs(prepared.bolus.arrival * series.time_step - 21.0) <= 2 * series.time_step
    grey = prepared.first_pass[prepared.mask & (nrcbv == GREY)].mean()
    white = prepared.first_pass[prepared.mask & (nrcbv == WHITE)].mean()
    assert grey / white == pytest.approx(GREY / WHITE, rel=0.02)


@pytest.mark.parametrize("factor", [1e-3, 0.37, 4096.0])
def test_a_factor_on_the_signal_changes_nothing(factor: float) -> None:
    series, _ = head_series()
    scaled = replace(series, signal=series.signal * np.float32(factor))
    one, two = prepare_series(series, INPUTS), prepare_series(scaled, INPUTS)
    assert np.array_equal(one.mask, two.mask)
    reference = network_slice(one, 2)[0]
    difference = np.abs(reference - network_slice(two, 2)[0]).max()
    assert difference <= 1e-4 * np.percentile(np.abs(reference), 99)


def test_dose_and_echo_time_cancel() -> None:
    """Twice the ΔR2*·TE gives the same input, where noise does not matter."""
    series, _ = head_series(noise=1e-5)
    doubled = replace(series, signal=(series.signal**2 / 800.0).astype(np.float32))
    mask = np.asarray(prepare_series(series, INPUTS).mask)
    one = prepare_series(series, INPUTS, mask=mask)
    two = prepare_series(doubled, INPUTS, mask=mask)
    assert two.scale == pytest.approx(2 * one.scale, rel=1e-3)
    assert np.abs(network_slice(one, 2)[0] - network_slice(two, 2)[0]).max() < 0.02


@pytest.mark.parametrize("n_unsteady", [0, 1, 3])
def test_unsteady_volumes_are_left_out_of_the_baseline(n_unsteady: int) -> None:
    series, _ = head_series(n_unsteady=n_unsteady)
    steady, _ = head_series()
    one, two = prepare_series(series, INPUTS), prepare_series(steady, INPUTS)
    assert one.bolus.n_unsteady >= n_unsteady
    brain = one.mask & two.mask
    assert np.abs(one.baseline[brain] / two.baseline[brain] - 1).max() < 0.02


@pytest.mark.parametrize(("n_times", "time_step"), [(30, 2.0), (60, 1.0), (90, 1.25), (120, 2.5)])
def test_the_same_bolus_at_another_time_step_gives_the_same_input(n_times: int, time_step: float) -> None:
    reference, _ = head_series(n_times=80, time_step=0.5, noise=1e-4)
    series, _ = head_series(n_times=n_times, time_step=time_step, noise=1e-4)
    mask = np.asarray(prepare_series(reference, INPUTS).mask)
    one = prepare_series(reference, INPUTS, mask=mask)
    two = prepare_series(series, INPUTS, mask=mask)
    shift = (one.bolus.arrival * 0.5 - two.bolus.arrival * time_step) / INPUTS.time_step
    both = (one.time_mapping.valid > 0) & (two.time_mapping.valid > 0)
    first, second = network_slice(one, 2)[0], network_slice(two, 2)[0]
    offsets = np.arange(INPUTS.n_times)
    pixel = (32, 32)
    moved = np.interp(offsets - shift, offsets, first[:, *pixel])
    assert abs(moved[both].max() - second[both][:, *pixel].max()) < 0.25 * moved.max()
    assert moved.argmax() == pytest.approx(second[:, *pixel].argmax(), abs=1.6)
    assert moved[both].sum() == pytest.approx(second[both][:, *pixel].sum(), rel=0.12)


def test_one_slice_works() -> None:
    series, _ = head_series(shape=(64, 64, 1))
    curves, coverage = network_slice(prepare_series(series, INPUTS), 0)
    assert curves.shape == (45, 64, 64)
    assert coverage.sum() > 500


def test_a_volume_that_jumps_out_is_filled_in_and_named_where_it_is() -> None:
    series, _ = head_series()
    signal = series.signal.copy()
    signal[..., 38] *= np.float32(0.7)
    spiked = replace(series, signal=signal)
    inputs = default_inputs("voxel-unet")
    clean, mended = prepare_series(series, inputs), prepare_series(spiked, inputs)
    assert not clean.notes
    (note,) = mended.notes
    assert note.endswith("filled in: 38 of those read, counted from 0")
    n = inputs.n_times
    curves, as_they_were = (network_slice(prepared, 2)[0][:n] for prepared in (mended, clean))
    assert np.abs(curves - as_they_were).max() < 0.1 * as_they_were.max()
    assert not prepare_series(spiked, INPUTS).notes  # this network reads the volume as it is


def test_gaps_in_the_series_are_named() -> None:
    series, _ = head_series()
    signal = series.signal.copy()
    signal[:, :, 2] = 0
    signal[:10] = np.nan
    notes = prepare_series(replace(series, signal=signal), INPUTS).notes
    assert any(
        "slices without signal amid the brain have no reading: 2 (counted from 0 at the feet" in note
        for note in notes
    )
    assert any("outside of the brain mask" in note and "not finite" in note for note in notes)


def test_a_few_bad_voxels_are_marked_many_are_refused() -> None:
    series, nrcbv = head_series()
    brain = np.argwhere(nrcbv > 0)
    signal = series.signal.copy()
    signal[(*brain[100], 7)] = np.nan
    signal[(*brain[200], 9)] = np.inf
    prepared = prepare_series(replace(series, signal=signal), INPUTS)
    assert prepared.validity[tuple(brain[100])] == Validity.NOT_FINITE
    assert (prepared.validity == Validity.NOT_FINITE).sum() == 2
    assert any("not finite" in note for note in prepared.notes)
    assert np.isfinite(network_slice(prepared, 2)[0]).all()
    signal[tuple(brain[::50].T)] = np.nan
    with pytest.raises(InputError, match="not finite"):
        prepare_series(replace(series, signal=signal), INPUTS)


def test_voxels_without_signal_have_no_reading() -> None:
    series, nrcbv = head_series()
    signal = series.signal.copy()
    signal[30:33, 30:33, 2] = 0.0
    prepared = prepare_series(replace(series, signal=signal), INPUTS, mask=nrcbv > 0)
    assert (prepared.validity[30:33, 30:33, 2] == Validity.NO_SIGNAL).all()


@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        (np.zeros((16, 16, 3, 30)), "constant or empty"),
        (np.full((16, 16, 3, 30), 7.0), "constant or empty"),
        (-np.random.default_rng(0).uniform(1, 2, (16, 16, 3, 30)), "positive magnitudes"),
        (np.full((16, 16, 3, 30), np.nan), "no voxel of the series is finite"),
    ],
)
def test_series_without_usable_signal_are_refused(signal: np.ndarray, reason: str) -> None:
    series, _ = head_series()
    with pytest.raises(InputError, match=reason):
        prepare_series(replace(series, signal=signal.astype(np.float32)), INPUTS)


def test_no_bolus_is_said_so() -> None:
    series, _ = head_series()
    still = np.repeat(series.signal[..., :1], 45, axis=3)
    still *= np.random.default_rng(0).normal(1, 0.01, still.shape).astype(np.float32)
    with pytest.raises(InputError, match="no bolus"):
        prepare_series(replace(series, signal=still), INPUTS)


@pytest.mark.parametrize("order", ["C", "F"])
def test_curves_are_those_that_the_mask_selects_however_the_series_lies_in_memory(order: str) -> None:
    series, nrcbv = head_series(shape=(20, 24, 3))
    signal = np.array(series.signal, order=order)
    inside = nrcbv > 0
    assert np.array_equal(curves_of(signal, inside), signal[inside])
    curve = mean_curve(replace(series, signal=signal), inside)
    np.testing.assert_allclose(curve, signal[inside].mean(axis=0, dtype=float), rtol=1e-12)


@pytest.mark.parametrize("shape", [(48, 64, 3), (64, 40, 3), (64, 64, 3)])
def test_the_native_matrix_is_read_as_resampling_to_the_same_size_would(
    shape: tuple[int, int, int],
) -> None:
    series, nrcbv = head_series(shape=shape)
    prepared = prepare_series(series, InputContract(matrix=64), mask=nrcbv > 0)
    image, coverage = network_slice(prepared, 1)
    mask = prepared.mask[:, :, 1]
    x, y = ((64 - n) // 2 for n in mask.shape)
    planes = np.moveaxis(image[:, x : x + mask.shape[0], y : y + mask.shape[1]], 0, 2)
    resampled, covered = to_matrix(planes, mask, 64, "linear")
    assert np.array_equal(coverage, covered)
    assert np.array_equal(image, np.moveaxis(resampled, 2, 0))
    assert image.any()
