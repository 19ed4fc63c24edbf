"""Bolus detection on brain-mean curves: where the baseline, the peak and the first pass lie, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmap.errors import InputError
from perfmap.physics.bolus import (
    Bolus,
    baseline_signal,
    find_bolus,
    first_pass_integral,
    log_ratio,
    mend_spikes,
)


def mean_curve(
    *, onset: float, n_times: int = 60, time_step: float = 1.5, drop: float = 0.3, tail: float = 0.15
) -> np.ndarray:
    """Signal that is 1000 before `onset` (s), falls by `drop`, and comes back to a tail of the peak."""
    since = np.maximum(np.arange(n_times) * time_step - onset, 0)
    first = (since / 6) ** 3 * np.exp(3 * (1 - since / 6))
    late = tail * (1 - np.exp(-since / 12))
    total = first + late
    return 1000 * np.exp(np.log(1 - drop) * total / total.max())


def first_fall(curve: np.ndarray) -> int:
    """First volume more than 2 % below the baseline of 1000."""
    return int(np.argmax(curve < 980))


@pytest.mark.parametrize("time_step", [1.0, 1.5, 2.0, 2.5])
@pytest.mark.parametrize("n_baseline", [5, 12, 38, 50])
def test_arrival_is_one_before_the_last_point_within_two_per_cent(time_step: float, n_baseline: int) -> None:
    curve = mean_curve(onset=n_baseline * time_step, n_times=100, time_step=time_step)
    bolus = find_bolus(curve, time_step=time_step)
    assert bolus.arrival == first_fall(curve) - 2
    assert bolus.peak == int(np.argmin(curve))
    assert bolus.n_unsteady == 0


def test_bright_first_volumes_are_left_out() -> None:
    steady = mean_curve(onset=18)
    bright = steady * (1 + 0.35 * 0.3 ** np.arange(60))
    bolus = find_bolus(bright, time_step=1.5)
    assert bolus.n_unsteady == 4
    np.testing.assert_allclose(baseline_signal(bright, bolus), 1000, rtol=2e-3)
    assert (bolus.arrival, bolus.peak) == (find_bolus(steady, time_step=1.5).arrival, int(np.argmin(steady)))


def test_four_steady_points_after_five_bright_ones_are_enough() -> None:
    curve = mean_curve(onset=9 * 2.0 - 0.5, time_step=2.0) * (1 + 0.3 * 0.35 ** np.arange(60))
    bolus = find_bolus(curve, time_step=2.0)
    assert bolus.arrival in (7, 8)
    assert bolus.baseline.stop - bolus.baseline.start >= 3


def test_window_ends_at_a_fifth_of_the_peak() -> None:
    curve = mean_curve(onset=18, tail=0.0)
    bolus = find_bolus(curve, time_step=1.5)
    height = -np.log(curve / 1000)
    assert height[bolus.end - 1] < 0.2 * height[bolus.peak] <= height[bolus.end - 2]
    assert bolus.window == slice(bolus.arrival - 1, bolus.end)


def test_window_ends_after_35_seconds_where_the_curve_stays_high() -> None:
    bolus = find_bolus(mean_curve(onset=18, tail=0.5, n_times=80), time_step=1.5)
    assert bolus.end == bolus.arrival + round(35 / 1.5) + 1


@pytest.mark.parametrize("spike", [-0.3, 0.3])
@pytest.mark.parametrize("where", [6, 55])
def test_a_spike_is_no_bolus_and_no_baseline(spike: float, where: int) -> None:
    curve = mean_curve(onset=18)
    plain = find_bolus(curve, time_step=1.5)
    curve[where] *= 1 + spike
    bolus = find_bolus(curve, time_step=1.5)
    assert (bolus.arrival, bolus.peak, bolus.end) == (plain.arrival, plain.peak, plain.end)
    np.testing.assert_allclose(baseline_signal(curve, bolus), 1000, rtol=1e-6)


@pytest.mark.parametrize("slope", [-0.03, 0.03])
def test_drift_does_not_end_the_baseline(slope: float) -> None:
    curve = mean_curve(onset=50 * 1.5, n_times=90) * (1 + slope * np.linspace(-1, 1, 90))
    assert abs(find_bolus(curve, time_step=1.5).arrival - 49) <= 2


def test_noise_moves_the_arrival_by_few_points() -> None:
    rng = np.random.default_rng(5)
    curve = mean_curve(onset=30, drop=0.25)
    plain = find_bolus(curve, time_step=1.5).arrival
    found = [find_bolus(curve * (1 + rng.normal(0, 0.008, 60)), time_step=1.5).arrival for _ in range(200)]
    assert np.percentile(np.abs(np.array(found) - plain), 95) <= 2


@settings(max_examples=60, deadline=None)
@given(
    time_step=st.floats(1.0, 2.5),
    n_times=st.integers(30, 120),
    part=st.floats(0, 1),
    drop=st.floats(0.08, 0.6),
    scale=st.floats(1e-3, 1e5),
)
def test_found_wherever_it_comes(
    time_step: float, n_times: int, part: float, drop: float, scale: float
) -> None:
    earliest, latest = 5.0, max(0.6 * n_times - 10 / time_step, 5.0)
    onset = time_step * (earliest + part * (latest - earliest))
    curve = mean_curve(onset=onset, n_times=n_times, time_step=time_step, drop=drop)
    bolus = find_bolus(scale * curve, time_step=time_step)
    # The running mean may follow the first step down, so that one point more is within 2 % of it.
    assert first_fall(curve) - bolus.arrival in (1, 2)
    assert bolus.baseline.stop - bolus.baseline.start >= 3
    assert bolus.arrival < bolus.peak < bolus.end <= n_times
    assert bolus == find_bolus(curve, time_step=time_step)


@pytest.mark.parametrize(
    ("curve", "seen"),
    [
        (1000.0 + np.arange(40) % 2, "wanted at least"),
        (mean_curve(onset=30, drop=0.03), "wanted at least 5 %"),
        (mean_curve(onset=-1.5), "steady volumes before it"),
        (np.r_[mean_curve(onset=30)[:20], np.nan, mean_curve(onset=30)[21:]], "volume 20 is not finite"),
        (-mean_curve(onset=30), "not positive"),
        (np.full(6, 1000.0), "at least 10 volumes"),
    ],
)
def test_refusals_name_what_was_seen(curve: np.ndarray, seen: str) -> None:
    with pytest.raises(InputError, match="no bolus found") as refusal:
        find_bolus(curve, time_step=1.5)
    assert seen in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_drop_within_the_noise_is_refused() -> None:
    rng = np.random.default_rng(0)
    curve = mean_curve(onset=45, drop=0.08) * (1 + rng.normal(0, 0.03, 60))
    with pytest.raises(InputError, match="SD"):
        find_bolus(curve, time_step=1.5)


def test_log_ratio_returns_what_made_the_signal_and_knows_no_scale() -> None:
    bolus = Bolus(n_unsteady=0, arrival=9, peak=15, end=25, n_times=40)
    truth = np.r_[np.zeros(10), np.linspace(-0.2, 1.5, 30)].astype(np.float32)
    signal = (700 * np.exp(-truth)).astype(np.float32)
    np.testing.assert_allclose(log_ratio(signal, bolus), truth, atol=2e-6)
    np.testing.assert_allclose(log_ratio(signal * np.float32(1e-6), bolus), truth, atol=2e-6)


def test_log_ratio_is_finite_where_the_signal_is_gone() -> None:
    bolus = Bolus(n_unsteady=0, arrival=9, peak=15, end=25, n_times=40)
    signal = np.full((2, 40), 500.0)
    signal[0, 12:] = 0
    signal[1] = 0
    ratio = log_ratio(signal, bolus)
    np.testing.assert_allclose(ratio[0, 12:], np.log(100), rtol=1e-6)
    assert not ratio[1].any()


def test_first_pass_integral_is_exact_for_straight_lines() -> None:
    bolus = Bolus(n_unsteady=0, arrival=4, peak=8, end=12, n_times=20)
    line = np.stack([np.arange(20.0), np.ones(20)])
    # From volume 3 to volume 11 at 2 s: 16 s, mean value 7.
    np.testing.assert_allclose(first_pass_integral(line, bolus, time_step=2.0), [16 * 7, 16])


@pytest.mark.parametrize("spikes", [(7,), (7, 22), (0, 1, 30), (39,)])
def test_spikes_are_filled_by_straight_lines(spikes: tuple[int, ...]) -> None:
    bolus = Bolus(n_unsteady=0, arrival=9, peak=15, end=25, n_times=40, spikes=spikes)
    line = np.stack([np.full(40, 2.0), np.arange(40.0)]).astype(np.float32)
    spoilt = line.copy()
    spoilt[:, list(spikes)] = -100
    mended = mend_spikes(spoilt, bolus)
    np.testing.assert_allclose(mended[0], 2)
    inner = [spike for spike in spikes if 2 < spike < 39]
    np.testing.assert_allclose(mended[1, inner], inner)


def test_a_dropped_volume_does_not_reach_the_integral() -> None:
    curve = mean_curve(onset=18)
    plain = find_bolus(curve, time_step=1.5)
    dropped = curve.copy()
    dropped[plain.peak + 5] = 0
    bolus = find_bolus(dropped, time_step=1.5)
    found = first_pass_integral(mend_spikes(log_ratio(dropped, bolus), bolus), bolus, time_step=1.5)
    wanted = first_pass_integral(log_ratio(curve, plain), plain, time_step=1.5)
    assert float(found) == pytest.approx(float(wanted), rel=0.03)
