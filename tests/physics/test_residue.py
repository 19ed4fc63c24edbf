"""Residue functions: exact areas, mass balance, the interstitium's differential equation."""

from __future__ import annotations

import numpy as np
import pytest

from perfmap.physics.aif import gamma_variate
from perfmap.physics.curves import FINE_STEP
from perfmap.physics.residue import interstitial_response, residue_function, residue_kernel, tissue_response

TIME = np.arange(4000) * FINE_STEP
ARTERY = 55.0 * gamma_variate(TIME, arrival=15.0, alpha=3.0, beta=1.5)
FAMILIES = ["gamma", "box", "linear", "lorentzian"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mtt", [2.0, 5.0, 12.0])
def test_area_is_mtt_and_start_is_one(family: str, mtt: float) -> None:
    time = np.arange(0, 20_000, 0.01)
    residue = residue_function(time, mtt=mtt, family=family, residue_lambda=3.0)  # type: ignore[arg-type]
    assert residue[0] == 1.0
    assert (np.diff(residue) <= 0).all()
    area = (residue.sum() - 0.5) * 0.01
    assert area == pytest.approx(mtt, rel=3e-3)


def test_gamma_family_runs_from_exponential_to_box() -> None:
    time = np.linspace(0, 20, 401)
    exponential = residue_function(time, mtt=4.0, family="gamma", residue_lambda=1.0)
    np.testing.assert_allclose(exponential, np.exp(-time / 4.0), atol=1e-12)
    nearly_box = residue_function(time, mtt=4.0, family="gamma", residue_lambda=1e4)
    away = np.abs(time - 4.0) > 0.2
    np.testing.assert_allclose(nearly_box[away], (time < 4.0)[away].astype(float), atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_kernel_sums_to_one(family: str) -> None:
    kernel = residue_kernel(4096, time_step=FINE_STEP, mtt=6.0, family=family, residue_lambda=2.0)  # type: ignore[arg-type]
    assert kernel.sum() == pytest.approx(1.0, abs=1e-12)
    assert residue_kernel(10, time_step=FINE_STEP, mtt=0.0, family="gamma")[0] == 1.0


def test_flow_in_minus_flow_out_is_what_the_tissue_holds() -> None:
    """Mass balance: F·∫(Ca − Cv) = C, with Cv the outflow through the transit-time density."""
    mtt, cbv = 5.0, 0.04
    flow = cbv / mtt
    held = cbv * tissue_response(ARTERY, time_step=FINE_STEP, mtt=mtt, family="gamma", residue_lambda=1.0)
    outflow = tissue_response(ARTERY, time_step=FINE_STEP, mtt=mtt, family="gamma", residue_lambda=1.0)
    # λ = 1: the transit-time density is the exponential e^{−t/MTT}/MTT itself, equal to R/∫R.
    rate = flow * (ARTERY - outflow)
    balance = np.cumsum(rate + np.roll(rate, 1)) / 2 * FINE_STEP
    assert np.abs(balance - held).max() < 1e-3 * held.max()


@pytest.mark.parametrize("kep", [0.0, 0.05, 0.5, 5.0])
def test_interstitium_obeys_its_differential_equation(kep: float) -> None:
    plasma = ARTERY / 0.55
    amount = interstitial_response(plasma, time_step=FINE_STEP, kep=np.array([kep]))[0]
    inflow = (plasma[1:] + plasma[:-1]) / 2
    outflow = kep * (amount[1:] + amount[:-1]) / 2
    np.testing.assert_allclose(np.diff(amount), (inflow - outflow) * FINE_STEP / 60, atol=2e-5 * amount.max())
