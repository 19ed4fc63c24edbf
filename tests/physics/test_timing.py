"""Arrival and time to peak of curves whose times are known."""

from __future__ import annotations

import numpy as np
import pytest

from perfmap.physics.bolus import Bolus
from perfmap.physics.gamma_variate import gamma_variate
from perfmap.physics.timing import bolus_arrival_time, crossing, time_to_peak

BOLUS = Bolus(n_unsteady=0, arrival=12, peak=18, end=40, n_times=60)


@pytest.mark.parametrize("step", [1.0, 1.5, 2.0])
def test_time_to_peak_counts_from_the_arrival(step: float) -> None:
    peaks = step * np.array([16.0, 17.3, 18.5, 20.75])
    time = np.arange(60) * step
    curves = np.exp(-0.5 * ((time - peaks[:, None]) / (2.5 * step)) ** 2)
    np.testing.assert_allclose(
        time_to_peak(curves, BOLUS, time_step=step), peaks - 12 * step, atol=0.05 * step
    )


def test_arrival_of_a_straight_rise_is_exact() -> None:
    time = np.arange(60) * 1.5
    start = np.array([18.0, 20.1, 22.7])
    curves = np.clip((time - start[:, None]) / 12, 0, None) * (time < start[:, None] + 12)
    np.testing.assert_allclose(bolus_arrival_time(curves, BOLUS, time_step=1.5), start, atol=0.25)


def test_later_boluses_arrive_later_by_as_much() -> None:
    time = np.arange(60) * 1.5
    delays = np.arange(0, 6, 0.4)
    curves = gamma_variate(time, height=1.0, arrival=19 + delays[:, None], alpha=3.0, beta=1.6)
    found = bolus_arrival_time(curves, BOLUS, time_step=1.5)
    np.testing.assert_allclose(found - found[0], delays, atol=0.35)
    np.testing.assert_array_equal(found, bolus_arrival_time(1e-4 * curves, BOLUS, time_step=1.5))


def test_voxels_without_a_peak_have_no_arrival() -> None:
    assert bolus_arrival_time(np.zeros((2, 60)), BOLUS, time_step=1.5).tolist() == [0, 0]


def test_crossings_stand_between_samples() -> None:
    curve = np.array([[0.0, 0.0, 4.0, 10.0, 8.0, 2.0, 0.0]])
    peak = np.array([3])
    assert crossing(curve, peak, 0.5)[0] == pytest.approx(2 + 1 / 6)
    assert crossing(curve, peak, 0.5, after=True)[0] == pytest.approx(4.5)
