"""Deconvolution: matrix form, known flows, delays, and the digital reference object of OSIPI."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from scipy.stats import spearmanr

from perfmap.errors import InputError
from perfmap.physics.aif import gamma_variate, recirculate
from perfmap.physics.deconvolution import (
    blood_volume,
    csvd,
    flow,
    oscillation_index,
    osvd,
    ssvd,
    tikhonov,
    time_to_maximum,
    volterra_weights,
)
from perfmap.physics.residue import tissue_response

DATA = Path(__file__).parents[1] / "data"
METHODS: dict[str, Callable[..., np.ndarray]] = {
    "ssvd": ssvd,
    "csvd": csvd,
    "osvd": osvd,
    "tikhonov": tikhonov,
}
FACTOR = 0.733
FINE = 0.1
# |CBF error| allowed on the OSIPI curves: part of the true flow, and ml/100 ml/min beside it.
TIGHT = {"ssvd": (0.19, 1.0), "csvd": (0.30, 1.5), "osvd": (0.26, 1.0), "tikhonov": (0.31, 1.5)}


def osipi() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Tissue curves (14, 161), arterial curve (161,), CBV and CBF (14,), and TR in s."""
    with (DATA / "osipi_dsc_dro.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    tissue = np.array([np.fromstring(row["C_tis"], sep=" ") for row in rows])
    artery = np.fromstring(rows[0]["C_aif"], sep=" ")
    truth = np.array([[float(row["cbv"]), float(row["cbf"])] for row in rows])
    return tissue, artery, truth[:, 0], truth[:, 1], float(rows[0]["tr"])


def flows(name: str, tissue: np.ndarray, artery: np.ndarray, step: float) -> np.ndarray:
    return flow(METHODS[name](tissue, artery, time_step=step), hematocrit_factor=1.0)


def shifted(curves: np.ndarray, samples: float) -> np.ndarray:
    """Curves later by a number of samples, whole or not, zeros moving in; band-limited between samples."""
    length = 2 * curves.shape[-1]
    phase = np.exp(-2j * np.pi * np.fft.rfftfreq(length) * samples)
    return np.fft.irfft(np.fft.rfft(curves, length) * phase, length)[..., : curves.shape[-1]]


def fine_artery(duration: float = 200.0) -> np.ndarray:
    """The simulator's default arterial curve without tail on 0.1 s, mM; bolus from 20 s."""
    time = np.arange(0, duration, FINE)
    first = 55 * gamma_variate(time, arrival=20, alpha=3, beta=1.5)
    return recirculate(first, time_step=FINE, fraction=0.2, delay=12, tau=8, tail=0)


def tissue_curve(artery: np.ndarray, *, cbv: float, mtt: float, residue_lambda: float = 1.0) -> np.ndarray:
    response = tissue_response(artery, time_step=FINE, mtt=mtt, family="gamma", residue_lambda=residue_lambda)
    return cbv / 100 / FACTOR * response


def test_osipi_volume_by_the_rectangle_rule() -> None:
    tissue, artery, cbv, cbf, step = osipi()
    measured = blood_volume(tissue, artery, hematocrit_factor=1.0)
    np.testing.assert_allclose(measured, cbv + cbf * step / 120, atol=0.15)


@pytest.mark.parametrize("name", METHODS)
def test_osipi_flow(name: str) -> None:
    tissue, artery, _, cbf, step = osipi()
    found = flows(name, tissue, artery, step)
    np.testing.assert_allclose(found, cbf, rtol=0.1, atol=15)
    part, beside = TIGHT[name]
    np.testing.assert_allclose(found, cbf, rtol=part, atol=beside)
    assert spearmanr(found[:7], cbf[:7]).statistic == spearmanr(found[7:], cbf[7:]).statistic == 1


@pytest.mark.parametrize(("name", "limit"), [("csvd", 0.01), ("osvd", 0.03), ("tikhonov", 0.01)])
@pytest.mark.parametrize("samples", [-1, 1, 2, 4])
def test_circulant_flow_does_not_know_delay(name: str, limit: float, samples: int) -> None:
    tissue, artery, _, _, step = osipi()
    moved = np.roll(tissue, samples, axis=1)
    moved[:, :samples] = 0 if samples > 0 else moved[:, :samples]
    if samples < 0:
        moved[:, samples:] = 0
    change = flows(name, moved, artery, step) / flows(name, tissue, artery, step) - 1
    assert np.abs(change).max() <= limit


@pytest.mark.parametrize("samples", [-1, 1, 2, 4])
def test_standard_svd_does_know_delay(samples: int) -> None:
    tissue, artery, _, _, step = osipi()
    change = flows("ssvd", np.roll(tissue, samples, axis=1), artery, step) / flows(
        "ssvd", tissue, artery, step
    )
    assert np.abs(change - 1).max() > 0.2


@pytest.mark.parametrize("name", ["csvd", "osvd", "tikhonov"])
@pytest.mark.parametrize("samples", [-0.5, 0.25, 0.5, 0.75, 1.5, 2.5])
def test_fractional_delay_stays_within_ten_per_cent(name: str, samples: float) -> None:
    tissue, artery, _, _, step = osipi()
    change = flows(name, shifted(tissue, samples), artery, step) / flows(name, tissue, artery, step) - 1
    assert np.abs(change).max() <= 0.10


@pytest.mark.parametrize(("step", "limit"), [(1.0, 0.0005), (2.0, 0.005), (2.5, 0.01)])
@pytest.mark.parametrize("mtt", [4.0, 8.0])
def test_volume_from_exact_concentration_at_every_sampling_phase(
    step: float, limit: float, mtt: float
) -> None:
    artery = fine_artery()
    tissue = tissue_curve(artery, cbv=4.0, mtt=mtt, residue_lambda=3.0)
    every = round(step / FINE)
    found = [
        float(blood_volume(tissue[phase::every], artery[phase::every], hematocrit_factor=FACTOR))
        for phase in range(every)
    ]
    np.testing.assert_allclose(found, 4.0, rtol=limit)


@pytest.mark.parametrize("name", METHODS)
def test_flow_ranks_the_grid_of_kudo(name: str) -> None:
    """CBV 1–5, seven transit times, delays of 0–3 s. Every method underestimates short transit times."""
    artery = fine_artery(120)
    time = np.arange(0, 120, FINE)
    truth, curves = [], []
    for mtt in (24, 12, 8, 6, 4.8, 4, 3.43):
        unit = tissue_curve(artery, cbv=1.0, mtt=mtt)
        for delay in np.arange(0, 3.1, 0.5):
            later = np.interp(time - delay, time, unit)
            for cbv in range(1, 6):
                truth.append((60 * cbv / mtt, mtt, delay))
                curves.append(cbv * later[::15])
    cbf, mtt_of, delay_of = np.array(truth).T
    residue = METHODS[name](np.array(curves), artery[::15], time_step=1.5)
    found = flow(residue, hematocrit_factor=FACTOR)
    assert spearmanr(found, cbf).statistic > (0.95 if name == "ssvd" else 0.98)
    error = found / cbf - 1
    by_transit = [np.median(error[mtt_of == mtt]) for mtt in (24, 8, 3.43)]
    assert by_transit[0] > by_transit[1] > by_transit[2] > -0.55
    if name == "osvd":
        assert np.abs(by_transit[:2]).max() < 0.1
        tmax = time_to_maximum(residue, n_times=len(curves[0]), time_step=1.5)
        late = [np.median(tmax[delay_of == delay]) for delay in (0.0, 1.5, 3.0)]
        np.testing.assert_allclose(np.diff(late), 1.5)


def test_fourier_filter_equals_singular_value_decomposition() -> None:
    """csvd against the block-circulant matrix written out, and tikhonov against the ridge solution."""
    tissue, artery, _, _, step = osipi()
    tissue, artery = tissue[:, ::4], artery[::4]
    n_times = artery.size
    column = np.zeros(2 * n_times)
    column[: n_times + 1] = volterra_weights(artery)
    matrix = step * scipy.linalg.circulant(column)
    u, s, vt = np.linalg.svd(matrix)
    padded = np.pad(tissue, ((0, 0), (0, n_times)))
    inverse = np.where(s >= 0.1 * s[0], 1 / s, 0)
    expected = (vt.T * inverse @ u.T @ padded.T).T
    np.testing.assert_allclose(csvd(tissue, artery, time_step=step), expected, atol=2e-5 * expected.max())
    ridge = matrix.T @ matrix + (0.1 * s[0]) ** 2 * np.eye(2 * n_times)
    expected = np.linalg.solve(ridge, matrix.T @ padded.T).T
    np.testing.assert_allclose(tikhonov(tissue, artery, time_step=step), expected, atol=2e-5 * expected.max())


def test_volterra_weights_keep_the_area() -> None:
    artery = fine_artery()[::10]
    assert volterra_weights(artery).sum() == pytest.approx(artery.sum(), rel=1e-9)


def test_osvd_meets_its_limit_and_no_more() -> None:
    tissue, artery, _, _, step = osipi()
    index = oscillation_index(osvd(tissue, artery, time_step=step).astype(float))
    assert (index < 0.036).all()
    assert (index > 0.028).all()


def test_osvd_does_not_depend_on_scale() -> None:
    tissue, artery, _, _, step = osipi()
    plain = flows("osvd", tissue, artery, step)
    np.testing.assert_allclose(flows("osvd", 1e-3 * tissue, 1e-3 * artery, step), plain, rtol=1e-3)


def test_curves_without_flow_have_none() -> None:
    """Negative and empty curves go through without a warning, and give no flow."""
    _, artery, _, _, step = osipi()
    for name in METHODS:
        assert not flows(name, np.stack([np.zeros_like(artery), -np.ones_like(artery)]), artery, step)[
            0
        ].any()


def test_tmax_is_the_delay_with_its_sign() -> None:
    artery = fine_artery(120)[::10]
    for delay in (-3, 0, 2, 5):
        tissue = np.roll(artery, delay)
        residue = csvd(tissue, artery, time_step=1.0)
        assert time_to_maximum(residue, n_times=artery.size, time_step=1.0) == delay


@pytest.mark.parametrize(
    ("artery", "seen"), [(np.ones(30), "one value for each of the 40"), (-np.ones(40), "no positive area")]
)
def test_unfit_arterial_curves_are_refused(artery: np.ndarray, seen: str) -> None:
    for name in METHODS:
        with pytest.raises(InputError, match=seen):
            flows(name, np.ones((2, 40)), artery, 1.0)
