"""The brain mask against heads whose brain is known."""

from __future__ import annotations

import numpy as np
import pytest

from perfmap.errors import ConfigError, InputError
from perfmap.preprocess.mask import brain_mask, dice

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
def test_brain_is_found_with_and_without_skull(skull: bool, n_slices: int) -> None:
    baseline, brain, _ = head(skull=skull, n_slices=n_slices)
    assert dice(brain_mask(baseline, voxel_size=NATIVE), brain) > 0.97


def test_scale_of_the_signal_does_not_matter() -> None:
    baseline, _, _ = head(n_slices=3)
    assert np.array_equal(
        brain_mask(baseline, voxel_size=NATIVE), brain_mask(baseline * 64, voxel_size=NATIVE)
    )


def test_empty_volume_and_unknown_method_are_refused() -> None:
    with pytest.raises(InputError, match="no positive value"):
        brain_mask(np.zeros((8, 8, 2)), voxel_size=NATIVE)
    with pytest.raises(ConfigError, match="otsu"):
        brain_mask(np.ones((8, 8, 2)), voxel_size=NATIVE, method="magic")
