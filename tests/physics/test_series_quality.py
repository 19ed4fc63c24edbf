"""Measures of a series against series whose faults are known."""

from __future__ import annotations

import numpy as np
import pytest

from perfmap.physics.bolus import find_bolus
from perfmap.physics.series_quality import (
    baseline_drift,
    drop_of,
    extinguished_share,
    repeated_volumes,
    second_bolus,
    share_at_ceiling,
    temporal_snr,
    unfinished_pass,
)
from tests.heads import bolus_curve

STEP = 1.5


def curve_of(*, n: int = 60, arrival: float = 20.0, depth: float = 0.4, more: tuple[float, float] = (0, 0)):
    """Signal of a bolus, and of a second one at (arrival in s, part of the first one's height)."""
    time = np.arange(n) * STEP
    height = depth * (bolus_curve(time, arrival=arrival) + more[1] * bolus_curve(time, arrival=more[0]))
    return 1000.0 * np.exp(-height)


@pytest.mark.parametrize("snr", [8.0, 30.0, 100.0])
def test_temporal_snr_is_the_noise_that_was_added_and_not_the_drift(snr: float) -> None:
    rng = np.random.default_rng(0)
    level = rng.uniform(500, 2000, (4000, 1))
    drift = 1 + np.linspace(-0.05, 0.05, 12)
    signal = level * (drift + rng.normal(0, 1 / snr, (4000, 12)))
    assert temporal_snr(signal) == pytest.approx(snr, rel=0.12)


def test_temporal_snr_without_noise_or_without_signal() -> None:
    assert temporal_snr(np.full((5, 4), 7.0)) == float("inf")
    assert temporal_snr(np.zeros((5, 4))) == 0.0


def test_a_volume_that_repeats_its_neighbour_is_named_and_noise_is_not() -> None:
    signal = np.random.default_rng(0).normal(1000, 10, (500, 30)).astype(np.float32)
    assert repeated_volumes(signal) == ()
    signal[:, 7], signal[:, 20] = signal[:, 6], signal[:, 19]
    assert repeated_volumes(signal) == (7, 20)


def test_whole_numbers_that_happen_to_be_equal_are_no_repetition() -> None:
    signal = np.rint(np.random.default_rng(0).normal(1000, 0.5, (500, 30)))
    assert repeated_volumes(signal) == ()


def test_clipping_shows_as_the_share_of_values_it_took() -> None:
    signal = np.random.default_rng(0).normal(1000, 100, (2000, 10))
    ceiling = np.quantile(signal, 0.8)
    assert share_at_ceiling(np.minimum(signal, ceiling), ceiling=float(ceiling)) == pytest.approx(
        0.2, abs=0.01
    )
    assert share_at_ceiling(signal, ceiling=float(signal.max())) < 1e-3


def test_extinguished_voxels_are_those_without_signal_at_the_peak() -> None:
    assert extinguished_share(np.array([1.0, 600.0, 40.0, 60.0]), np.full(4, 1000.0)) == 0.5


def test_drop_is_that_of_the_bolus() -> None:
    curve = curve_of(depth=0.4)
    assert drop_of(curve, find_bolus(curve, time_step=STEP)) == pytest.approx(1 - np.exp(-0.4), abs=0.01)


def test_drift_of_the_baseline_is_its_change_from_first_to_last_volume() -> None:
    curve = curve_of()
    bolus = find_bolus(curve, time_step=STEP)
    n = bolus.baseline.stop - bolus.baseline.start
    tilted = curve.copy()
    tilted[bolus.baseline] *= 1 + np.linspace(0, 0.04, n)
    assert baseline_drift(curve, bolus) < 0.002
    assert baseline_drift(tilted, bolus) == pytest.approx(0.04, rel=0.05)


def test_a_series_that_ends_within_the_pass_says_how_high_it_still_stands() -> None:
    whole = curve_of(n=60)
    assert unfinished_pass(whole, find_bolus(whole, time_step=STEP)) == 0.0
    cut = whole[: int(np.argmin(whole)) + 3]
    height = -np.log(cut / whole[0])
    expected = height[-1] / height.max()
    assert unfinished_pass(cut, find_bolus(cut, time_step=STEP)) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("share", [0.3, 0.6])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_second_bolus_is_seen_with_its_size(share: float, when: str) -> None:
    first, second = (60.0, 15.0) if when == "before" else (20.0, 65.0)
    curve = curve_of(n=80, arrival=first, more=(second, share))
    peak = int(np.argmin(curve))
    # The pass that is read is the large one, wherever the search for its start ends.
    bolus = find_bolus(curve[20:] if when == "before" else curve, time_step=STEP)
    if when == "before":
        from dataclasses import replace

        bolus = replace(
            bolus,
            n_unsteady=0,
            arrival=bolus.arrival + 20,
            peak=bolus.peak + 20,
            end=bolus.end + 20,
            n_times=curve.size,
        )
    assert bolus.peak == peak
    earlier, later = second_bolus(curve, bolus, time_step=STEP)
    found, other = (earlier, later) if when == "before" else (later, earlier)
    assert found == pytest.approx(share, rel=0.2)
    assert other < 0.1


def test_one_bolus_with_recirculation_is_one() -> None:
    curve = curve_of(n=80, more=(38.0, 0.12))
    assert max(second_bolus(curve, find_bolus(curve, time_step=STEP), time_step=STEP)) < 0.1
