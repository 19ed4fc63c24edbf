"""The scale of a patient's ap-rCBV from the map's own brightest voxels."""

import numpy as np
import pytest

from perfmap.engine.brightest import fit_brightest
from perfmap.physics.captk import brightest_level

LEVEL = 255.0


def reference(rng: np.random.Generator) -> np.ndarray:
    """A map on CaPTk's scale: a third brain, a few vessels."""
    image = np.zeros((4, 32, 32))
    image[:, 6:26, 6:26] = rng.gamma(4.0, 10.0, (4, 20, 20))
    image[:, 10, 8:24] *= 8
    return image * LEVEL / brightest_level(image)


def test_maps_of_any_scale_are_brought_to_the_level_that_their_references_have() -> None:
    rng = np.random.default_rng(0)
    truths = [reference(rng) for _ in range(9)]
    found = fit_brightest((truth * rng.uniform(0.5, 2), truth) for truth in truths)
    assert found == pytest.approx(LEVEL, rel=1e-6)


def test_what_a_network_smooths_off_the_brightest_voxels_is_fitted() -> None:
    rng = np.random.default_rng(1)
    truths = [reference(rng) for _ in range(9)]
    found = fit_brightest((np.minimum(truth, 200) * rng.uniform(0.5, 2), truth) for truth in truths)
    assert found is not None
    assert 190 < found < 250


def test_where_references_are_not_scaled_by_their_brightest_voxels_the_network_s_own_scale_is_kept() -> None:
    rng = np.random.default_rng(2)
    truths = [reference(rng) * rng.uniform(0.5, 2) for _ in range(9)]
    assert fit_brightest((truth, truth) for truth in truths) is None


def test_few_or_empty_maps_say_nothing() -> None:
    rng = np.random.default_rng(3)
    truths = [reference(rng) for _ in range(4)]
    assert fit_brightest((truth, truth) for truth in truths) is None
    assert fit_brightest((np.zeros_like(truth), truth) for truth in truths * 3) is None
