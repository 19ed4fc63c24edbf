"""Boluses of a mean curve: two are found as two, and one of whatever kind stays one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perfmap.errors import InputError
from perfmap.phantom.case import draw_case, simulate_case
from perfmap.phantom.regimes import REGIMES
from perfmap.physics.bolus import find_bolus
from perfmap.physics.passes import choose_pass, find_boluses
from tests.heads import bolus_curve

STEP = 1.5


def curve_of(*boluses: tuple[float, float], n_times: int = 100, tail: float = 0.1) -> np.ndarray:
    """Signal of boluses at (arrival in s, height), each followed by a tail that stays."""
    time = np.arange(n_times) * STEP
    height = np.zeros(n_times)
    for arrival, depth in boluses:
        since = np.maximum(time - arrival, 0)
        height += depth * (bolus_curve(time, arrival=arrival) + tail * (1 - np.exp(-since / 12)))
    return 1000.0 * np.exp(-height)


@pytest.mark.parametrize("noise", [0.0, 0.004])
@pytest.mark.parametrize(("first", "second"), [(0.12, 0.4), (0.4, 0.4), (0.4, 0.25), (0.4, 0.15)])
def test_two_boluses_are_found_where_they_are(first: float, second: float, noise: float) -> None:
    curve = curve_of((20.0, first), (80.0, second))
    curve *= 1 + np.random.default_rng(1).normal(0, noise, curve.size)
    one, two = find_boluses(curve, time_step=STEP)
    for found, arrival, depth in ((one, 20.0, first), (two, 80.0, second)):
        assert abs(found.arrival * STEP - arrival) <= 3 * STEP
        assert found.peak * STEP == pytest.approx(arrival + 6, abs=2.5)
        assert found.depth == pytest.approx(depth, rel=0.15)
    # Each is measured against its own baseline, and none holds the other.
    assert one.volumes[-1] < two.arrival + 3
    assert two.volumes[two.bolus.n_unsteady] * STEP > 20 + 15


def test_the_baseline_of_the_last_pass_is_what_lies_between() -> None:
    curve = curve_of((20.0, 0.3), (80.0, 0.4))
    last = find_boluses(curve, time_step=STEP)[1]
    steady = curve[np.asarray(last.volumes)[last.bolus.baseline]]
    assert steady.mean() == pytest.approx(1000 * np.exp(-0.03), rel=0.005)


def test_without_steady_points_between_the_baseline_is_that_before_both() -> None:
    curve = curve_of((20.0, 0.4), (41.0, 0.6), tail=0.0)
    _, two = find_boluses(curve, time_step=STEP)
    steady = np.asarray(two.volumes)[two.bolus.baseline]
    assert curve[steady].mean() == pytest.approx(1000, rel=0.03)
    assert two.depth == pytest.approx(0.6, rel=0.1)


@pytest.mark.parametrize(
    ("depths", "chosen"), [((0.1, 0.4), 1), ((0.4, 0.4), 1), ((0.4, 0.3), 1), ((0.4, 0.12), 0)]
)
def test_the_last_full_pass_is_read(depths: tuple[float, float], chosen: int) -> None:
    passes = find_boluses(curve_of((20.0, depths[0]), (80.0, depths[1])), time_step=STEP)
    assert len(passes) == 2
    assert choose_pass(passes) == chosen
    assert [choose_pass(passes, n) for n in (1, 2)] == [0, 1]


def test_a_last_pass_that_is_cut_off_is_not_read() -> None:
    curve = curve_of((20.0, 0.3), (80.0, 0.4))[:60]
    passes = find_boluses(curve, time_step=STEP)
    assert choose_pass(passes) == 0


@pytest.mark.parametrize("number", [0, 3])
def test_a_bolus_that_is_not_there_is_refused_with_those_that_are(number: int) -> None:
    passes = find_boluses(curve_of((20.0, 0.2), (80.0, 0.4)), time_step=STEP)
    with pytest.raises(InputError, match="2 boluses") as refusal:
        choose_pass(passes, number)
    assert f"--bolus is {number}" in str(refusal.value)
    assert f"peak at {passes[1].peak}" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("recirculation", [0.05, 0.15, 0.25])
@pytest.mark.parametrize("delay", [14.0, 18.0, 25.0])
def test_a_shoulder_of_recirculation_is_no_second_bolus(recirculation: float, delay: float) -> None:
    time = np.arange(80) * STEP
    wide = np.convolve(bolus_curve(time, arrival=20.0), np.ones(5) / 5)[: time.size]
    again = recirculation * np.interp(time - delay, time, wide)
    stays = 0.1 * (1 - np.exp(-np.maximum(time - 20, 0) / 12))
    height = 0.4 * (bolus_curve(time, arrival=20.0) + again + stays)
    assert len(find_boluses(1000 * np.exp(-height), time_step=STEP)) == 1


@pytest.mark.parametrize(
    "regime",
    [
        name if name in ("t1-leak", "moving") else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(REGIMES)
    ],
)
def test_one_bolus_of_every_regime_stays_one(regime: str) -> None:
    simulated = simulate_case(draw_case(21, regime=regime, n_slices=1))
    curve = simulated.signal[simulated.truth["mask"] > 0].mean(axis=0, dtype=np.float64)
    (only,) = find_boluses(curve, time_step=simulated.time_step)
    assert only.volumes == tuple(range(curve.size))
    assert only.bolus == find_bolus(curve, time_step=simulated.time_step)


@pytest.mark.parametrize("depth", [float("nan"), -0.1])
def test_a_single_bolus_is_taken_whatever_its_depth(depth: float) -> None:
    """Values beyond all sense are refused where they are read, not here."""
    curve = 100 * np.exp(-0.5 * bolus_curve(np.arange(60) * 1.5, arrival=20.0))
    (one,) = find_boluses(curve, time_step=1.5)
    assert choose_pass((replace(one, depth=depth),)) == 0
