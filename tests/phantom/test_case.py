"""Whole cases: replay, truth, paired protocols."""

from __future__ import annotations

import numpy as np
import pytest

from perfmap.errors import ConfigError
from perfmap.phantom.artefacts import static_gain
from perfmap.phantom.case import (
    CaseParameters,
    SimulatedCase,
    change_case,
    draw_case,
    make_geometry,
    series_of,
    simulate_case,
    true_maps,
)
from perfmap.phantom.priors import LABELS
from perfmap.phantom.subject import build_subject
from tests.phantom.tables import ARTERY, GM, WM, subject_of


@pytest.fixture(scope="module")
def plain() -> SimulatedCase:
    return simulate_case(draw_case(3, regime="plain", n_slices=2))


@pytest.fixture(scope="module")
def wild() -> SimulatedCase:
    case = draw_case(11, n_slices=2)
    rough = {"motion.walk": 0.2, "artefacts.epi_shift": 2.5, "artefacts.ghost": 0.03, "artefacts.int16": True}
    return simulate_case(change_case(case, rough))


def test_replay_from_json_is_bit_identical(wild: SimulatedCase) -> None:
    again = simulate_case(CaseParameters.model_validate_json(wild.case.model_dump_json()))
    np.testing.assert_array_equal(again.signal, wild.signal)
    assert again.truth.keys() == wild.truth.keys()
    for name, array in wild.truth.items():
        np.testing.assert_array_equal(again.truth[name], array)


def test_a_case_as_a_series_has_its_signal_place_and_times(wild: SimulatedCase) -> None:
    series = series_of(wild)
    np.testing.assert_array_equal(series.signal, wild.signal)
    np.testing.assert_array_equal(series.affine, wild.affine)
    acquisition = wild.case.acquisition
    assert (series.time_step, series.echo_time) == (acquisition.time_step, acquisition.echo_time)
    assert series.repetition_time == acquisition.time_step / acquisition.pulses_per_volume


def test_same_seed_same_case_and_another_seed_another() -> None:
    assert draw_case(4, n_slices=2) == draw_case(np.random.default_rng(4), n_slices=2)
    assert draw_case(4, n_slices=2) != draw_case(5, n_slices=2)


def test_series_and_truth_are_finite_and_on_one_grid(wild: SimulatedCase) -> None:
    shape = wild.signal.shape
    assert shape == (128, 128, 2, wild.case.acquisition.n_times)
    assert wild.signal.dtype == np.float32
    assert np.isfinite(wild.signal).all()
    for array in wild.truth.values():
        assert array.shape == shape[:3]
        assert np.isfinite(array.astype(float)).all()


def test_nrcbv_is_one_on_average_in_normal_white_matter(plain: SimulatedCase) -> None:
    assert float(plain.truth["nrcbv"][plain.truth["nawm"]].mean()) == pytest.approx(1.0, rel=1e-5)


def test_grey_matter_holds_more_blood_and_arteries_come_first(plain: SimulatedCase) -> None:
    labels = plain.truth["labels"]
    mean = {
        name: float(plain.truth["nrcbv"][labels == LABELS[name]].mean())
        for name in ("csf", "gm", "wm", "vessel_artery")
    }
    assert mean["csf"] < mean["wm"] < mean["gm"] < mean["vessel_artery"]
    arteries = labels == LABELS["vessel_artery"]
    brain = plain.truth["mask"] & (labels == LABELS["wm"])
    assert plain.truth["delay"][arteries].mean() < plain.truth["delay"][brain].mean()


def test_first_pass_integral_follows_the_truth(plain: SimulatedCase) -> None:
    """In tissue without leakage the plain integral of −ln(S/S0) ranks voxels as the true CBV does."""
    from scipy.stats import spearmanr

    labels, signal = plain.truth["labels"], plain.signal
    tissue = np.isin(labels, [LABELS["gm"], LABELS["wm"], LABELS["deep_gm"]])
    baseline = signal[..., 2:8].mean(axis=-1)
    integral = -np.log(np.maximum(signal[tissue], 1.0) / baseline[tissue][:, None]).sum(axis=1)
    assert spearmanr(integral, plain.truth["cbv"][tissue]).statistic > 0.9


def test_true_maps_of_known_compartments() -> None:
    rows = [
        GM | {"voxel": 0, "fraction": 0.9, "delay": 1.0},
        ARTERY | {"voxel": 0, "fraction": 0.1, "delay": -1.0},
        WM | {"voxel": 1, "delay": 2.0, "ktrans": 0.1},
    ]
    maps = {name: array.ravel() for name, array in true_maps(subject_of(*rows)).items()}
    np.testing.assert_allclose(maps["cbv"], [13.6, 2.0], rtol=1e-6)  # 100·f + (1 − f)·4
    np.testing.assert_allclose(maps["nrcbv"], [6.8, 1.0], rtol=1e-6)
    np.testing.assert_allclose(maps["cbf"], [54.0, 24.0], rtol=1e-6)  # 60·CBV/MTT of the tissue
    np.testing.assert_allclose(maps["mtt"], [4.0, 5.0], rtol=1e-6)
    np.testing.assert_allclose(maps["delay"], [(3.6 - 10.0) / 13.6, 2.0], rtol=1e-5)
    np.testing.assert_allclose(maps["ktrans"], [0.0, 0.1], atol=1e-7)


def test_paired_protocol_keeps_subject_and_truth(plain: SimulatedCase) -> None:
    other = simulate_case(change_case(plain.case, {"echo_time": 0.045, "artefacts.snr": 40.0, "dose": 0.5}))
    assert other.case.subject == plain.case.subject
    assert other.echo_time == 0.045
    for name, array in plain.truth.items():
        np.testing.assert_array_equal(other.truth[name], array)
    assert not np.array_equal(other.signal, plain.signal)


def test_another_field_changes_relaxation_times_and_no_truth(plain: SimulatedCase) -> None:
    weak = change_case(plain.case, {"field_strength": 1.5, "echo_time": 0.045})
    assert weak.subject.tissues["gm"].t1 < plain.case.subject.tissues["gm"].t1
    assert weak.subject.tissues["gm"].cbv == plain.case.subject.tissues["gm"].cbv
    truth = simulate_case(weak).truth
    for name in ("labels", "mask", "nawm"):
        np.testing.assert_array_equal(truth[name], plain.truth[name])
    np.testing.assert_allclose(truth["nrcbv"], plain.truth["nrcbv"], rtol=1e-5)


def test_geometric_distortion_moves_truth_with_the_images(plain: SimulatedCase) -> None:
    shifted = simulate_case(change_case(plain.case, {"artefacts.epi_shift": 3.0}))
    labels = shifted.truth["labels"]
    assert set(np.unique(labels)) <= set(np.unique(plain.truth["labels"]))
    baseline = shifted.signal[..., 2:8].mean(axis=-1)
    threshold = 0.3 * np.median(baseline[shifted.truth["mask"]])
    both = shifted.truth["mask"] & (baseline > threshold)
    assert both.sum() > 0.97 * shifted.truth["mask"].sum()


def test_dropout_takes_three_to_ten_per_cent_of_the_brain() -> None:
    """Share of a whole brain that loses more than 30 % of its signal, TE 30 ms, middle of the priors."""
    case = draw_case(0, regime="plain", geometry="native")
    settings = {"artefacts.bias": 0.0, "artefacts.dropout": 80.0, "artefacts.dropout_radius": 12.0}
    subject = build_subject(case.subject, case.geometry)
    gain = static_gain(subject.shape, subject.affine, change_case(case, settings).acquisition)
    assert 0.03 < float((gain[subject.brain_mask] < 0.7).mean()) < 0.10
    assert gain.max() <= 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"echotime": 0.04}, "no acquisition parameter is called echotime"),
        ({"artefacts.nothing": 1}, "no acquisition parameter is called artefacts.nothing"),
        ({"echo_time.x": 1}, "no acquisition parameter is called echo_time.x"),
        ({"echo_time": -1.0}, "echo_time = -1.0"),
        ({"echo_time": "long"}, "echo_time = 'long'"),
    ],
)
def test_changes_that_make_no_sense_are_refused(
    plain: SimulatedCase, change: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        change_case(plain.case, change)


def test_geometries_by_name() -> None:
    rng = np.random.default_rng(0)
    assert make_geometry(rng, "native").shape == (128, 128, 20)
    assert make_geometry(rng, "upenn").shape == (240, 240, 155)
    middle = make_geometry(rng, "upenn", n_slices=7)
    assert middle.shape == (240, 240, 7)
    whole = make_geometry(rng, "upenn")
    np.testing.assert_allclose(
        middle.matrix @ [119.5, 119.5, 3.0, 1.0], whole.matrix @ [119.5, 119.5, 77.0, 1.0], atol=1e-9
    )
    with pytest.raises(ConfigError, match="unknown geometry 'square'"):
        make_geometry(rng, "square")
    with pytest.raises(ConfigError, match="has 20 slices, 21 were asked for"):
        make_geometry(rng, "native", n_slices=21)
