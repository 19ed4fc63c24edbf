"""The arterial input: found among tissue, veins and saturated voxels, by both ways."""

from __future__ import annotations

import numpy as np
import pytest

from perfmap.errors import InputError
from perfmap.physics.arterial import (
    arterial_input_by_clusters,
    arterial_input_by_score,
    curve_shape,
    rescale_by_venous_output,
    venous_output,
)
from perfmap.physics.bolus import Bolus
from perfmap.physics.gamma_variate import gamma_variate

STEP = 1.5
N_TIMES = 60
BOLUS = Bolus(n_unsteady=0, arrival=12, peak=17, end=34, n_times=N_TIMES)
ARTERIES, VEINS = slice(0, 12), slice(12, 24)


def bolus_curve(*, height: float, arrival: float, width: float) -> np.ndarray:
    return gamma_variate(np.arange(N_TIMES) * STEP, height=height, arrival=arrival, alpha=3.0, beta=width)


def brain(seed: int = 0, *, noise: float = 0.01) -> np.ndarray:
    """−ln(S/S0) of 12 arteries, 12 veins, 10 saturated arteries and 800 tissue voxels."""
    rng = np.random.default_rng(seed)
    arteries = [bolus_curve(height=rng.uniform(1.0, 1.4), arrival=17, width=1.3) for _ in range(12)]
    veins = [bolus_curve(height=rng.uniform(1.2, 1.6), arrival=24, width=2.0) for _ in range(12)]
    saturated = [bolus_curve(height=8.0, arrival=17, width=1.3) for _ in range(10)]
    tissue = [
        bolus_curve(height=rng.uniform(0.1, 0.5), arrival=rng.uniform(18.5, 20), width=rng.uniform(1.9, 2.4))
        for _ in range(800)
    ]
    curves = np.array(arteries + veins + saturated + tissue)
    signal = np.exp(-curves) + rng.normal(0, noise, curves.shape)
    return -np.log(np.maximum(signal, 0.01))


def members(voxels: np.ndarray, group: slice) -> int:
    return int(((voxels >= group.start) & (voxels < group.stop)).sum())


@pytest.mark.parametrize("seed", range(5))
def test_score_takes_arteries_only(seed: int) -> None:
    found = arterial_input_by_score(brain(seed), BOLUS, time_step=STEP)
    assert found.voxels.size == members(found.voxels, ARTERIES) == 5
    expected = bolus_curve(height=1.0, arrival=17, width=1.3)
    assert np.corrcoef(found.curve, expected)[0, 1] > 0.99


@pytest.mark.parametrize("seed", range(5))
def test_clusters_take_arteries_only(seed: int) -> None:
    curves = brain(seed)
    found = arterial_input_by_clusters(curves, BOLUS, time_step=STEP, rng=np.random.default_rng(seed))
    assert members(found.voxels, ARTERIES) == found.voxels.size >= 3
    again = arterial_input_by_clusters(curves, BOLUS, time_step=STEP, rng=np.random.default_rng(seed))
    np.testing.assert_array_equal(again.curve, found.curve)


def test_score_does_not_depend_on_the_length_of_the_baseline() -> None:
    curves = brain(1)
    plain = arterial_input_by_score(curves, BOLUS, time_step=STEP)
    longer = np.concatenate([curves[:, :12], curves], axis=1)
    later = Bolus(n_unsteady=0, arrival=24, peak=29, end=46, n_times=N_TIMES + 12)
    np.testing.assert_array_equal(arterial_input_by_score(longer, later, time_step=STEP).voxels, plain.voxels)


def test_shape_of_a_known_curve() -> None:
    shape = curve_shape(bolus_curve(height=1.0, arrival=18, width=2.0)[np.newaxis], BOLUS, time_step=STEP)
    fine = np.arange(0, 80, 0.001)
    curve = gamma_variate(fine, height=1.0, arrival=18.0, alpha=3.0, beta=2.0)
    above = fine[curve >= 0.5]
    assert shape.width[0] == pytest.approx(above[-1] - above[0], abs=0.3)
    assert shape.drop[0] == pytest.approx(1 - np.exp(-1), abs=0.01)
    assert shape.arrival[0] == pytest.approx(fine[curve >= 0.1][0], abs=0.4)
    assert not shape.saturated[0]


def test_vein_restores_an_artery_with_partial_volume() -> None:
    curves = brain(2)
    vein = venous_output(curves, BOLUS, time_step=STEP)
    assert members(vein.voxels, VEINS) == vein.voxels.size == 5
    full = bolus_curve(height=1.0, arrival=17, width=1.3)
    half = 0.5 * full
    np.testing.assert_allclose(rescale_by_venous_output(half, np.roll(full, 4)), full)
    np.testing.assert_allclose(rescale_by_venous_output(full, 0.5 * full), full)


def test_nothing_arterial_is_refused() -> None:
    tissue = brain()[34:] * 0.3
    with pytest.raises(InputError, match="0 of 800 voxels drop by 20%"):
        arterial_input_by_score(tissue, BOLUS, time_step=STEP)
    with pytest.raises(InputError, match="late voxels"):
        venous_output(tissue, BOLUS, time_step=STEP)
    with pytest.raises(InputError, match="at least 6"):
        arterial_input_by_clusters(tissue[:20], BOLUS, time_step=STEP, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="no positive area"):
        rescale_by_venous_output(-np.ones(5), np.ones(5))
