"""The brain mask against heads whose brain is known."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import ndimage

from perfmap.errors import ConfigError, InputError
from perfmap.phantom.case import draw_case, simulate_case
from perfmap.physics.bolus import baseline_signal, find_bolus
from perfmap.preprocess.mask import brain_mask, dice, threshold_niblack, threshold_otsu
from perfmap.preprocess.mask_cusum import change_point

NATIVE = (1.8, 1.8, 5.0)


def head(*, skull: bool = True, n_slices: int = 20, noise: float = 8.0, seed: int = 0):
    """Ellipsoid brain (signal 500–650) in bone (20) and scalp (200): baseline, true brain, drop."""
    rng = np.random.default_rng(seed)
    middle = (n_slices - 1) / 2
    x, y, z = np.meshgrid(
        np.arange(128) - 63.5, np.arange(128) - 63.5, np.arange(n_slices) - middle, indexing="ij"
    )
    millimetres = np.stack([x * NATIVE[0], y * NATIVE[1], z * NATIVE[2]])

    def ellipsoid(*radii: float):
        return sum((axis / radius) ** 2 for axis, radius in zip(millimetres, radii, strict=True)) < 1

    brain = ellipsoid(68, 84, 62)
    baseline = np.zeros(brain.shape)
    drop = np.zeros(brain.shape)
    if skull:
        baseline[ellipsoid(84, 100, 78)] = 200
        drop[ellipsoid(84, 100, 78)] = 0.03
        baseline[ellipsoid(76, 92, 70)] = 20
    baseline[brain] = 500 + 150 * (np.sin(x[brain] / 4) * np.sin(y[brain] / 5) > 0)
    drop[brain] = 0.3
    baseline[brain & (np.hypot(x, y) < 10)] = 700
    baseline = np.hypot(
        baseline + noise * rng.standard_normal(brain.shape), noise * rng.standard_normal(brain.shape)
    )
    if not skull:
        baseline[~brain] = 0
    return baseline.astype(np.float32), brain, drop.astype(np.float32)


@pytest.mark.parametrize("skull", [True, False])
@pytest.mark.parametrize("n_slices", [1, 5, 20])
@pytest.mark.parametrize(("method", "least"), [("otsu", 0.97), ("niblack", 0.95), ("cusum", 0.95)])
def test_brain_is_found_with_and_without_skull(method: str, least: float, n_slices: int, skull: bool) -> None:
    baseline, brain, _ = head(skull=skull, n_slices=n_slices)
    assert dice(brain_mask(baseline, voxel_size=NATIVE, method=method), brain) > least


@pytest.mark.parametrize(
    ("geometry", "n_slices", "seed"),
    [("stack", 1, 23), ("stack", 1, 29), pytest.param("native", 20, 1, marks=pytest.mark.slow)],
)
def test_simulated_heads_with_skull_reach_a_dice_of_095(geometry: str, n_slices: int, seed: int) -> None:
    pytest.importorskip("nilearn")
    case = draw_case(seed, regime="with-skull", geometry=geometry, n_slices=n_slices)
    simulated = simulate_case(case)
    brain = simulated.truth["mask"].astype(bool)
    bolus = find_bolus(simulated.signal[brain].mean(axis=0), time_step=simulated.time_step)
    baseline = baseline_signal(simulated.signal, bolus)
    assert dice(brain_mask(baseline, voxel_size=case.geometry.voxel_size), brain) > 0.95


def test_stripped_series_keeps_every_voxel_of_its_outline() -> None:
    baseline, brain, _ = head(skull=False, n_slices=5)
    baseline[60:66, 70:76] *= 0.02  # dropout, a bleeding
    assert np.array_equal(brain_mask(baseline, voxel_size=NATIVE), brain)


def test_head_cut_out_of_its_background_is_not_taken_for_a_stripped_brain() -> None:
    baseline, brain, drop = head(n_slices=5)
    baseline[(drop == 0) & ~ndimage.binary_fill_holes(drop > 0)] = (
        0  # 0 outside the scalp, as some scanners store
    )
    assert dice(brain_mask(baseline, voxel_size=NATIVE), brain) > 0.97


def test_bias_field_does_not_cut_the_brain() -> None:
    baseline, brain, _ = head(n_slices=5)
    slope = np.linspace(-1, 1, 128)
    assert dice(brain_mask(baseline * np.exp(0.3 * slope[:, None, None]), voxel_size=NATIVE), brain) > 0.97


def test_dark_hole_inside_and_ventricle_open_at_the_last_slice_belong_to_the_brain() -> None:
    baseline, _, _ = head(n_slices=5)
    baseline[50:60, 60:70, 3:] = 5
    assert brain_mask(baseline, voxel_size=NATIVE)[50:60, 60:70, 3:].all()


def test_parts_of_the_brain_in_one_slice_stay_and_eyes_go() -> None:
    baseline, _, drop = head(n_slices=1)
    drop[...] = 0
    baseline[...] = 5
    x, y = np.meshgrid(np.arange(128), np.arange(128), indexing="ij")
    cerebellum, temporal, eye = (
        np.hypot(x - i, y - j)[:, :, None] < radius
        for i, j, radius in ((64, 45, 26), (40, 85, 11), (52, 112, 6))
    )
    for part, value in ((cerebellum, 500), (temporal, 520), (eye, 800)):
        baseline[part] = value
    assert np.array_equal(
        brain_mask(baseline, voxel_size=NATIVE), ndimage.median_filter(cerebellum | temporal, 3)
    )
    drop[cerebellum] = 0.3
    assert not brain_mask(baseline, voxel_size=NATIVE, drop=drop)[temporal].any()


def test_orbit_below_the_frontal_lobe_of_the_next_slice_goes() -> None:
    baseline, brain, drop = head(n_slices=6)
    x, y = np.meshgrid(np.arange(128), np.arange(128), indexing="ij")
    low = np.broadcast_to(y[:, :, None] > 70, baseline.shape).copy()
    low[:, :, 3:] = False
    baseline[low], drop[low], brain[low] = 20, 0, False
    orbit = np.broadcast_to(np.hypot(x - 64, y - 90)[:, :, None] < 14, baseline.shape) & low
    baseline[orbit], drop[orbit] = 800, 0.1
    found = brain_mask(baseline, voxel_size=NATIVE, drop=drop)
    assert found[orbit].mean() < 0.02
    assert dice(found, brain) > 0.97


def test_slices_may_lie_across_any_axis() -> None:
    baseline, _, _ = head(n_slices=4)
    axial = brain_mask(baseline, voxel_size=NATIVE)
    sagittal = brain_mask(np.moveaxis(baseline, 2, 0), voxel_size=(5.0, 1.8, 1.8))
    assert np.array_equal(np.moveaxis(sagittal, 0, 2), axial)


def test_values_that_are_not_finite_count_as_background() -> None:
    baseline, _, _ = head(n_slices=3)
    baseline[:4] = np.nan
    zero = np.nan_to_num(baseline)
    assert np.array_equal(brain_mask(baseline, voxel_size=NATIVE), brain_mask(zero, voxel_size=NATIVE))


def test_scale_of_the_signal_does_not_matter() -> None:
    baseline, _, _ = head(n_slices=3)
    assert np.array_equal(
        brain_mask(baseline, voxel_size=NATIVE), brain_mask(baseline * 64, voxel_size=NATIVE)
    )


def test_otsu_threshold_parts_two_populations() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(10, 1, 3000), rng.normal(50, 3, 1000)])
    assert 13 < threshold_otsu(values) < 40


def test_niblack_threshold_is_mean_and_deviation_of_the_surroundings() -> None:
    checkers = np.indices((60, 60)).sum(axis=0)[:, :, None] % 2 * 2.0 + 9
    threshold = threshold_niblack(checkers, (1.0, 1.0, 1.0), width=9, k=-0.5)
    assert threshold[30, 30, 0] == pytest.approx(10 - 0.5, abs=0.02)


def test_change_point_is_where_the_sum_last_was_zero() -> None:
    sequences = np.array([[-1, -1, 2, -3, 1, 1, 1, 1], [-1.0] * 8, [0.4, 0.4, -1, 0.4, 0.4, -1, 0.4, 0.4]])
    assert change_point(sequences, alarm=2.5).tolist() == [4, 8, 8]
    assert change_point(np.array([2.0, 2.0, 2.0]), alarm=3.0) == 0


def test_deepbet_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepbet", None)
    with pytest.raises(ConfigError, match=r"pip install 'perfmap\[brain\]'"):
        brain_mask(np.ones((8, 8, 2)), voxel_size=NATIVE, method="deepbet")


@pytest.mark.slow
def test_deepbet_finds_the_brain() -> None:
    pytest.importorskip("deepbet")
    baseline, brain, _ = head()
    assert dice(brain_mask(baseline, voxel_size=NATIVE, method="deepbet"), brain) > 0.9


def test_refusals_say_what_was_wanted() -> None:
    with pytest.raises(InputError, match="no positive value"):
        brain_mask(np.zeros((8, 8, 2)), voxel_size=NATIVE)
    with pytest.raises(InputError, match="three axes"):
        brain_mask(np.ones((8, 8, 2, 5)), voxel_size=NATIVE)
    with pytest.raises(InputError, match="positive lengths"):
        brain_mask(np.ones((8, 8, 2)), voxel_size=(1.0, 0.0, 1.0))
    with pytest.raises(InputError, match=r"drop has shape"):
        brain_mask(np.ones((8, 8, 2)), voxel_size=NATIVE, drop=np.ones((8, 8)))
    with pytest.raises(ConfigError, match="otsu, niblack, cusum, deepbet"):
        brain_mask(np.ones((8, 8, 2)), voxel_size=NATIVE, method="magic")


def test_an_empty_border_around_the_field_of_view_changes_nothing() -> None:
    baseline, truth, drop = head(n_slices=6)
    mask = brain_mask(baseline, voxel_size=NATIVE, drop=drop)
    margin = ((20, 9), (0, 30), (0, 0))
    wide = brain_mask(np.pad(baseline, margin), voxel_size=NATIVE, drop=np.pad(drop, margin))
    inner = wide[20 : 20 + 128, :128]
    assert wide.sum() == inner.sum()
    assert dice(inner, mask) > 0.995
    assert dice(inner, truth) > 0.9
