"""White matter found on average brains that were turned, scaled, cut into slices, and given lesions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from perfmap.errors import InputError
from perfmap.io.tissue_prior import load_tissue_prior
from perfmap.preprocess.atlas import place_brain, white_matter_share
from perfmap.preprocess.white_matter import estimate_white_matter

SIZE = (4.0, 4.0, 5.0)
SHAPE = (52, 60, 24)


def subject(
    *, angle: float = 0.0, scale: float = 1.0, shift: float = 0.0, slices: slice = slice(None)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey, white and fluid shares of the average brain about its middle, on 4 × 4 × 5 mm."""
    prior = load_tissue_prior()
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    millimetres = (index - (np.array(SHAPE) - 1) / 2) * SIZE
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turned = millimetres @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]).T / scale
    where = (turned + np.array([shift, -18, 8]) - prior.origin) / prior.step
    grey, white, fluid = (
        ndimage.map_coordinates(part, np.moveaxis(where, -1, 0), order=1)[:, :, slices]
        for part in (prior.grey, prior.white, prior.fluid)
    )
    return grey, white, fluid


def series(
    shares: tuple[np.ndarray, np.ndarray, np.ndarray], *, ratio: float = 2.0, noise: float = 0.1
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Baseline, first-pass map with white matter at 0.3 s, mask; and the mean over pure white matter."""
    grey, white, fluid = shares
    total = grey + white + fluid
    mask = total > 0.5
    rng = np.random.default_rng(3)
    level = 0.3 * (white + ratio * grey) / np.maximum(total, 0.5) * rng.normal(1, 0.15, mask.shape)
    first_pass = np.where(mask, level + rng.normal(0, 0.3 * noise, mask.shape), 0)
    truth = float(first_pass[mask & (white > 0.9 * total)].mean())
    return np.where(mask, 500.0, 0), first_pass, mask, truth


@pytest.mark.parametrize("ratio", [0.7, 1.2, 2.0, 3.0])
@pytest.mark.parametrize(("angle", "scale"), [(8, 0.92), (-8, 1.08)])
def test_level_for_any_ratio_of_grey_to_white(ratio: float, angle: float, scale: float) -> None:
    baseline, first_pass, mask, truth = series(subject(angle=angle, scale=scale, shift=6), ratio=ratio)
    found = estimate_white_matter(baseline, first_pass, mask, voxel_size=SIZE)
    assert found.level == pytest.approx(truth, rel=0.06)


@pytest.mark.parametrize("first", [9, 12, 15])
@pytest.mark.parametrize("n_slices", [1, 4])
def test_level_from_one_slice_or_a_few(first: int, n_slices: int) -> None:
    shares = subject(angle=5, slices=slice(first, first + n_slices))
    baseline, first_pass, mask, truth = series(shares)
    found = estimate_white_matter(baseline, first_pass, mask, voxel_size=SIZE)
    assert found.level == pytest.approx(truth, rel=0.2)


@pytest.mark.parametrize("lesion", [0.0, 8.0])
def test_a_lesion_does_not_pull_the_level(lesion: float) -> None:
    baseline, first_pass, mask, truth = series(subject())
    first_pass[14:22, 30:40, 10:16] *= lesion
    found = estimate_white_matter(baseline, first_pass, mask, voxel_size=SIZE)
    assert found.level == pytest.approx(truth, rel=0.08)


def test_factor_of_the_map_is_a_factor_of_the_level() -> None:
    baseline, first_pass, mask, _ = series(subject())
    plain = estimate_white_matter(baseline, first_pass, mask, voxel_size=SIZE)
    scaled = estimate_white_matter(3 * baseline, 40 * first_pass, mask, voxel_size=SIZE)
    assert scaled.level == pytest.approx(40 * plain.level)
    assert plain.level_of(40 * first_pass) == pytest.approx(scaled.level)
    np.testing.assert_array_equal(plain.mask, scaled.mask)


def test_placement_finds_turn_and_scale() -> None:
    grey, white, fluid = subject(angle=7, scale=0.9)
    mask = grey + white + fluid > 0.5
    placement = place_brain(mask, voxel_size=SIZE)
    assert placement.misfit < 0.01
    voxels = np.argwhere(mask)
    share = white_matter_share(placement, voxels, voxel_size=SIZE)
    truth = (white / np.maximum(grey + white + fluid, 0.5))[mask]
    assert np.corrcoef(share, truth)[0, 1] > 0.93


def test_refusals() -> None:
    baseline, first_pass, mask, _ = series(subject())
    with pytest.raises(InputError, match="a brain of 0 voxels"):
        estimate_white_matter(baseline, first_pass, np.zeros_like(mask), voxel_size=SIZE)
    with pytest.raises(InputError, match="wanted a positive number"):
        estimate_white_matter(baseline, -first_pass, mask, voxel_size=SIZE)
