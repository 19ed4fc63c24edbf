"""Bolus and brain found together in whole series."""

from __future__ import annotations

import numpy as np
import pytest

from perfmap.errors import InputError
from perfmap.preprocess.brain import find_brain, voxel_size
from perfmap.series import Series

N_TIMES = 50


def series(*, scale: float = 1.0) -> tuple[Series, np.ndarray]:
    """An ellipsoid of tissue in air, drop of 30 % at 24 s."""
    x, y, z = np.meshgrid(
        np.linspace(-1, 1, 40), np.linspace(-1, 1, 44), np.linspace(-0.6, 0.6, 8), indexing="ij"
    )
    brain = (x / 0.7) ** 2 + (y / 0.8) ** 2 + z**2 < 1
    since = np.maximum(np.arange(N_TIMES) - 14, 0)
    bolus = 0.36 * (since / 4) ** 3 * np.exp(3 * (1 - since / 4)) + 0.04 * (since > 8)
    rng = np.random.default_rng(0)
    signal = np.where(brain[..., None], 800 * np.exp(-bolus), 10) + rng.normal(0, 8, (*brain.shape, N_TIMES))
    affine = np.diag([4.0, 4.0, 6.0, 1.0])
    return Series((scale * np.abs(signal)).astype(np.float32), affine, 1.5, 1.5), brain


def test_brain_and_bolus_need_no_help() -> None:
    given, truth = series()
    found = find_brain(given)
    assert 2 * (found.mask & truth).sum() / (found.mask.sum() + truth.sum()) > 0.97
    assert 12 <= found.bolus.arrival <= 14
    assert found.bolus.peak in (17, 18, 19)
    np.testing.assert_allclose(found.baseline[truth], 800, rtol=0.02)
    assert found.notes == ()


def test_scale_changes_nothing_but_the_baseline() -> None:
    plain, bright = find_brain(series()[0]), find_brain(series(scale=64.0)[0])
    assert plain.bolus == bright.bolus
    np.testing.assert_array_equal(plain.mask, bright.mask)


def test_mask_given_is_used_without_its_dark_voxels() -> None:
    given, truth = series()
    given.signal[20, 20, 4] = 0
    found = find_brain(given, mask=truth)
    assert found.mask.sum() == truth.sum() - 1
    assert "1 of" in found.notes[0]


def test_few_voxels_that_are_not_finite_are_left_out_and_many_refused() -> None:
    given, truth = series()
    places = np.argwhere(truth)
    given.signal[tuple(places[0])] = np.nan
    assert not find_brain(given, mask=truth).mask[tuple(places[0])]
    given.signal[tuple(places[: len(places) // 10].T)] = np.inf
    with pytest.raises(InputError, match="not finite, wanted at most 1%"):
        find_brain(given, mask=truth)


def test_empty_series_and_masks_are_refused() -> None:
    given, truth = series()
    with pytest.raises(InputError, match="the mask selects no voxel"):
        find_brain(given, mask=np.zeros_like(truth))
    empty = Series(np.zeros_like(given.signal), given.affine, 1.5, 1.5)
    with pytest.raises(InputError, match="finite and positive"):
        find_brain(empty)


def test_voxel_size_of_a_turned_affine() -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, -3, 0], [2, 0, 0], [0, 0, 5]])
    assert voxel_size(affine) == (2.0, 3.0, 5.0)
