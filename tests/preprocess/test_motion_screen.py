"""The quick look at motion: what it shrinks volumes by, and damage that it must bear."""

import numpy as np
import pytest
from scipy import ndimage

from perfmap.preprocess.motion_screen import MotionScreen, _pooled, _shrinking, _shrunk


@pytest.mark.parametrize("order", ["C", "F"])
def test_one_matrix_an_axis_pools_and_smooths(order: str) -> None:
    volume = np.array(np.random.default_rng(0).random((50, 64, 7)), dtype=np.float32, order=order)
    factors, sigma = [3, 4, 1], [0.67, 0.5, 0.0]
    small = tuple(_shrinking(n, f, s) for n, f, s in zip(volume.shape, factors, sigma, strict=True))
    wanted = ndimage.gaussian_filter(_pooled(volume, factors), sigma)
    np.testing.assert_allclose(_shrunk(volume, small), wanted, rtol=1e-5)


def test_voxels_that_are_not_finite_are_no_motion() -> None:
    rng = np.random.default_rng(0)
    head = ndimage.gaussian_filter(rng.random((64, 64, 8)), 4).astype(np.float32)
    screen = MotionScreen.of(head, head > np.median(head), voxel_size=(3.0, 3.0, 5.0))
    head[0, 0, 0], head[1, 0, 0] = np.nan, np.inf
    assert np.abs(screen.fit(head)).max() < 1e-3
