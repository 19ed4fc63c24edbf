"""Volume and leakage by a fit of the curve of tissue that does not leak."""

from __future__ import annotations

import numpy as np
import pytest

from perfmap.physics.leakage import cumulative_integral
from perfmap.physics.reference_fit import N_FUNCTIONALS, READINGS, delayed, disperse, reference_functionals

STEP = 1.5
TIME = np.arange(60) * STEP
STEADY = slice(4, None)
NAMES = [*READINGS, "early", "leak"]


def bolus(arrival: float, width: float = 3.0) -> np.ndarray:
    late = np.maximum(TIME - arrival, 0.0)
    return (late / width) ** 3 * np.exp(3 * (1 - late / width)) + 0.08 * (1 - np.exp(-late / 10.0))


REFERENCE = 0.3 * bolus(20.0)


def found(curve: np.ndarray, noise: float = 0.005) -> dict[str, float]:
    weights = reference_functionals(REFERENCE, time_step=STEP, noise=noise, steady=STEADY)
    assert weights.shape == (len(TIME), N_FUNCTIONALS)
    return dict(zip(NAMES, (curve @ weights).tolist(), strict=True))


@pytest.mark.parametrize("factor", [0.3, 1.0, 12.0])
def test_the_reference_times_a_factor_is_that_factor_without_leakage(factor: float) -> None:
    values = found(factor * REFERENCE)
    assert [values[name] for name in READINGS] == pytest.approx([factor] * len(READINGS), rel=1e-3)
    assert values["early"] == pytest.approx(0.0, abs=1e-3 * factor)
    assert values["leak"] == pytest.approx(0.0, abs=1e-3 * factor)


@pytest.mark.parametrize(("step", "n"), [(0.5, 120), (1.5, 20), (3.0, 40), (5.0, 20)])
def test_any_interval_and_length_reads_the_reference_and_a_late_copy_of_it(step: float, n: int) -> None:
    time = np.arange(n) * step
    late = np.maximum(time - 0.25 * time[-1], 0.0) / 4.0
    reference = 0.3 * late**3 * np.exp(3 * (1 - late)) + 0.02 * (1 - np.exp(-late))
    weights = reference_functionals(reference, time_step=step, noise=0.005, steady=slice(2, None))
    assert np.allclose(2.0 * reference @ weights, [2.0, 2.0, 2.0, 0.0, 0.0], atol=5e-3)
    later = delayed(disperse(reference, time_step=step, tau=4.0), time_step=step, delay=3.0)
    assert float(later @ weights[:, 0]) == pytest.approx(1.0, abs=0.12)


@pytest.mark.parametrize("tau", [3.0, 8.0, 15.0])
def test_a_long_transit_time_costs_no_volume_where_nothing_leaks(tau: float) -> None:
    slow = delayed(disperse(REFERENCE, time_step=STEP, tau=tau), time_step=STEP, delay=2.0)
    first_pass = slow[13:24].sum() / REFERENCE[13:24].sum()
    assert abs(found(slow)["tight"] - 1.0) < 0.5 * abs(first_pass - 1.0)
    assert found(slow)["tight"] == pytest.approx(1.0, abs=0.12)


@pytest.mark.parametrize("leakage", [-0.02, 0.005, 0.02])
def test_leakage_of_either_sign_is_told_from_volume(leakage: float) -> None:
    leak = -leakage * cumulative_integral(REFERENCE, time_step=STEP)
    values = found(2.0 * REFERENCE + leak)
    assert values["leaky"] == pytest.approx(2.0, abs=0.05)
    assert values["leak"] == pytest.approx(leak[-1], rel=0.1)
    assert abs(values["tight"] - 2.0) > abs(values["leaky"] - 2.0)


def test_what_comes_before_the_reference_is_called_early() -> None:
    sooner = delayed(REFERENCE, time_step=STEP, delay=-3.0)
    later = delayed(REFERENCE, time_step=STEP, delay=4.0)
    assert found(sooner)["early"] == pytest.approx(1.0, abs=0.15)
    assert found(later)["early"] == pytest.approx(0.0, abs=0.1)


def test_volumes_before_the_steady_state_do_not_count() -> None:
    spoilt = REFERENCE.copy()
    spoilt[:4] -= 0.5
    assert found(spoilt) == pytest.approx(found(REFERENCE))


def test_dispersing_keeps_the_area_and_delays_by_its_time_constant() -> None:
    time = np.arange(400) * 0.5
    pulse = np.exp(-0.5 * ((time - 30.0) / 4.0) ** 2)
    spread = disperse(pulse, time_step=0.5, tau=8.0)
    assert spread.sum() == pytest.approx(pulse.sum(), rel=1e-6)
    assert (spread * time).sum() / spread.sum() == pytest.approx(38.0, abs=1e-3)


def test_much_noise_leaves_the_plain_projection_on_the_reference() -> None:
    """Where nothing is certain, no delay and no leakage is believed in."""
    rng = np.random.default_rng(1)
    curve = REFERENCE + rng.normal(scale=0.1, size=len(TIME))
    plain = float(curve[STEADY] @ REFERENCE[STEADY] / (REFERENCE[STEADY] @ REFERENCE[STEADY]))
    assert found(curve, noise=1e3)["tight"] == pytest.approx(plain, rel=1e-3)
