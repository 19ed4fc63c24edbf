"""Leakage correction: exact where the model is exact, silent where nothing leaks, and the measured glioma."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from perfmap.errors import InputError
from perfmap.physics.bolus import Bolus
from perfmap.physics.leakage import (
    KEP_GRID,
    bsw_k2,
    cumulative_integral,
    dual_echo_delta_r2star,
    fit_bidirectional,
    fit_bsw,
    non_enhancing,
)

DATA = Path(__file__).parents[1] / "data"
STEP = 1.5


@pytest.fixture
def reference() -> np.ndarray:
    """Mean curve of non-leaking tissue with recirculation and tail, 1/s."""
    since = np.maximum(np.arange(80) * STEP - 20, 0)
    return 12 * ((since / 6) ** 3 * np.exp(3 * (1 - since / 6)) + 0.12 * (1 - np.exp(-since / 15)))


def test_bsw_recovers_k1_and_k2(reference: np.ndarray) -> None:
    k1, k2 = np.array([0.3, 1.0, 4.0]), np.array([0.05, 0.0, -0.03])
    leak = cumulative_integral(reference, time_step=STEP)
    fit = fit_bsw(k1[:, None] * reference - k2[:, None] * leak, reference, time_step=STEP)
    np.testing.assert_allclose(fit.k1, k1, atol=1e-8)
    np.testing.assert_allclose(fit.k2, k2, atol=1e-8)
    np.testing.assert_allclose(fit.corrected, k1[:, None] * reference, atol=1e-8)


def test_without_leakage_the_volume_is_unchanged(reference: np.ndarray) -> None:
    curve = 2.5 * reference
    fit = fit_bsw(curve, reference, time_step=STEP)
    np.testing.assert_allclose(fit.corrected.sum(), curve.sum(), rtol=1e-10)


def test_factors_of_the_signal_do_not_change_k2(reference: np.ndarray) -> None:
    leak = cumulative_integral(reference, time_step=STEP)
    curve = 1.4 * reference - 0.02 * leak
    plain = fit_bsw(curve, reference, time_step=STEP)
    scaled = fit_bsw(0.03 * curve, 0.03 * reference, time_step=STEP)
    np.testing.assert_allclose(scaled.k2, plain.k2, rtol=1e-9)
    np.testing.assert_allclose(scaled.corrected, 0.03 * plain.corrected, rtol=1e-9)


@pytest.mark.parametrize("kep", KEP_GRID[1:])
def test_bidirectional_recovers_every_rate_of_its_grid(reference: np.ndarray, kep: float) -> None:
    leak = cumulative_integral(reference, time_step=STEP, decay_rate=kep)
    fit = fit_bidirectional(1.7 * reference - 0.04 * leak, reference, time_step=STEP)
    assert fit.kep == kep
    np.testing.assert_allclose([fit.k1, fit.k2], [1.7, 0.04], atol=1e-8)


def test_bidirectional_never_fits_worse_than_bsw(reference: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    leak = cumulative_integral(reference, time_step=STEP, decay_rate=0.012)
    curves = reference - 0.03 * leak + rng.normal(0, 0.2, (50, reference.size))
    residual = []
    for fit in (
        fit_bsw(curves, reference, time_step=STEP),
        fit_bidirectional(curves, reference, time_step=STEP),
    ):
        misfit = fit.corrected - fit.k1[:, None] * reference
        residual.append(np.square(misfit).sum(axis=1))
    assert (residual[1] <= residual[0] * (1 + 1e-9)).all()


def test_cumulative_integral_with_decay_solves_its_equation() -> None:
    time = np.arange(0, 60, 0.01)
    curve = np.sin(time / 5)
    k = 0.05
    exact = (k * np.sin(time / 5) - 0.2 * np.cos(time / 5) + 0.2 * np.exp(-k * time)) / (k**2 + 0.04)
    np.testing.assert_allclose(cumulative_integral(curve, time_step=0.01, decay_rate=k), exact, atol=1e-5)


BOLUS = Bolus(n_unsteady=0, arrival=12, peak=17, end=35, n_times=80)


def brain(
    reference: np.ndarray, *, leaking: int, noise: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """1200 voxels of three transit times, the first `leaking` of them with T1 leakage; and their volumes."""
    kernels = [np.exp(-np.arange(80) * STEP / mtt) for mtt in (3.0, 4.0, 5.0)]
    shapes = np.stack([np.convolve(reference, kernel / kernel.sum())[:80] for kernel in kernels])
    amount = rng.uniform(0.5, 2.5, (1200, 1))
    curves = np.tile(shapes, (400, 1)) * amount
    volume = curves.sum(axis=1)
    leak = 0.04 * rng.uniform(0.3, 1, (leaking, 1)) * cumulative_integral(reference, time_step=STEP)
    curves[:leaking] -= amount[:leaking] * leak
    return curves + rng.normal(0, noise, curves.shape), volume


@pytest.mark.parametrize("rule", ["balanced", "baseline"])
def test_leakage_and_emptiness_are_no_reference(reference: np.ndarray, rule: str) -> None:
    rng = np.random.default_rng(2)
    leak = cumulative_integral(reference, time_step=STEP)
    curves = np.concatenate(
        [
            rng.uniform(0.5, 2, (300, 1)) * reference,
            np.full((100, 1), 1.5) * reference - 0.05 * leak,
            np.full((100, 1), 1.5) * reference + 0.05 * leak,
            np.zeros((100, reference.size)),
        ]
    )
    chosen = non_enhancing(curves + rng.normal(0, 0.4, curves.shape), BOLUS, rule=rule)
    assert chosen[:300].sum() >= 50
    assert not chosen[300:].any()


@pytest.mark.parametrize("noise", [0.02, 0.8])
def test_leak_free_tissue_keeps_its_volume(reference: np.ndarray, noise: float) -> None:
    """No leakage: the median ratio to the uncorrected volume is 0.999 ± 0.005."""
    curves, _ = brain(reference, leaking=0, noise=noise, rng=np.random.default_rng(3))
    fit = fit_bsw(curves, curves[non_enhancing(curves, BOLUS)].mean(axis=0), time_step=STEP)
    ratio = fit.corrected.sum(axis=1) / curves.sum(axis=1)
    assert abs(np.median(ratio) - 0.999) < 0.005


@pytest.mark.parametrize("noise", [0.02, 0.8])
def test_leakage_elsewhere_does_not_touch_healthy_tissue(reference: np.ndarray, noise: float) -> None:
    """The balanced reference is unbiased where a third of the brain leaks; the one in common use is not."""
    curves, volume = brain(reference, leaking=360, noise=noise, rng=np.random.default_rng(0))
    bias = {}
    for rule in ("balanced", "baseline"):
        mean = curves[non_enhancing(curves, BOLUS, rule=rule)].mean(axis=0)
        corrected = fit_bsw(curves, mean, time_step=STEP).corrected
        bias[rule] = np.median(corrected[360:].sum(axis=1) / volume[360:]) - 1
    assert abs(bias["balanced"]) < 0.01
    assert bias["baseline"] < -0.05


def test_no_bolus_no_reference() -> None:
    with pytest.raises(InputError, match="none of 40 voxels"):
        non_enhancing(-np.ones((40, 80)), BOLUS)
    with pytest.raises(InputError, match="flat"):
        fit_bsw(np.ones((3, 80)), np.zeros(80), time_step=STEP)


def test_late_tissue_is_taken_for_leakage_least_where_the_whole_series_is_fitted(
    reference: np.ndarray,
) -> None:
    """Stroke: no leakage, arrival 4.5 s later, transit 10 s longer. Volume over the first pass of the brain."""
    kernel = np.exp(-np.arange(80) * STEP / 10)
    late = np.roll(np.convolve(reference, kernel / kernel.sum())[:80], 3)
    late[:3] = 0
    lost = {}
    for name, window in (("whole", slice(None)), ("first pass", slice(0, BOLUS.end))):
        fit = fit_bsw(late, reference, time_step=STEP, window=window)
        assert fit.k2 < 0
        lost[name] = 1 - fit.corrected[BOLUS.window].sum() / late[BOLUS.window].sum()
    assert lost["whole"] < 0.5 * lost["first pass"]


def test_two_echoes_cancel_t1() -> None:
    rng = np.random.default_rng(4)
    delta, enhancement = rng.uniform(0, 20, 50), rng.uniform(-0.5, 0.5, 50)
    first, second = (delta * echo - enhancement for echo in (0.01, 0.045))
    found = dual_echo_delta_r2star(first, second, first_echo_time=0.01, second_echo_time=0.045)
    np.testing.assert_allclose(found, delta, rtol=1e-9)
    with pytest.raises(InputError, match="later one second"):
        dual_echo_delta_r2star(second, first, first_echo_time=0.045, second_echo_time=0.01)


@pytest.mark.parametrize(
    ("echoes", "before", "after", "k2"), [("single", -3.14, 0.18, 0.0362), ("dual", 4.69, 1.17, -0.0384)]
)
def test_measured_glioma_with_strong_leakage(echoes: str, before: float, after: float, k2: float) -> None:
    """Barrow dual-echo curves; reference is white matter at the 30 ms echo, volumes relative to its integral."""
    data = scipy.io.loadmat(DATA / "barrow_dual_echo.mat")
    first_time, second_time, step = (float(np.squeeze(data[name])) for name in ("TE1", "TE2", "TR"))

    def ratio(name: str) -> np.ndarray:
        signal = data[name].astype(float)
        return -np.log(signal / signal[:, :40].mean(axis=1, keepdims=True))

    reference = ratio("NAWM_SIt")[1] / second_time
    tumour = ratio("tumor_SIt")
    curve = tumour[1] / second_time
    if echoes == "dual":
        curve = dual_echo_delta_r2star(
            tumour[0], tumour[1], first_echo_time=first_time, second_echo_time=second_time
        )
    fit = fit_bsw(curve, reference, time_step=step)
    unit = np.trapezoid(reference)
    assert np.trapezoid(curve) / unit == pytest.approx(before, abs=0.01)
    assert np.trapezoid(fit.corrected) / unit == pytest.approx(after, abs=0.01)
    assert float(fit.k2) == pytest.approx(k2, abs=2e-4)


def test_k2_alone_is_that_of_the_whole_fit(reference: np.ndarray) -> None:
    curves = np.random.default_rng(0).normal(reference, 0.3, (50, reference.size))
    window = slice(3, None)
    whole = fit_bsw(curves, reference, time_step=STEP, window=window)
    alone = bsw_k2(curves, reference, time_step=STEP, window=window)
    np.testing.assert_allclose(alone, whole.k2, rtol=1e-9, atol=1e-12)
