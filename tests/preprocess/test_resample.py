"""Resampling: constants stay, means stay, places stay."""

import numpy as np
import pytest

from perfmap.preprocess.resample import from_matrix, resampling_matrix, to_matrix


def blob(shape: tuple[int, int], *, centre: tuple[float, float], width: float) -> np.ndarray:
    """A Gaussian whose centre is given as a share of the square around the slice."""
    extent = max(shape)
    x, y = (np.arange(n) + 0.5 + (extent - n) // 2 for n in shape)
    return np.exp(
        -((x[:, None] / extent - centre[0]) ** 2 + (y[None] / extent - centre[1]) ** 2) / (2 * width**2)
    ).astype(np.float32)


@pytest.mark.parametrize("n_in", [64, 96, 112, 128, 240, 256])
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_rows_inside_add_up_to_one(n_in: int, interpolation: str) -> None:
    rows = resampling_matrix(n_in, 128, n_in, interpolation).sum(axis=1)
    assert np.allclose(rows, 1.0, atol=1e-6)


@pytest.mark.parametrize("shape", [(128, 128), (96, 128), (240, 240), (64, 80), (256, 208), (113, 91)])
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_a_constant_stays_the_constant(shape: tuple[int, int], interpolation: str) -> None:
    mask = np.zeros(shape, dtype=bool)
    mask[shape[0] // 8 : -shape[0] // 8, shape[1] // 8 : -shape[1] // 8] = True
    image, coverage = to_matrix(np.full((*shape, 2), 3.5, dtype=np.float32), mask, 128, interpolation)
    assert np.allclose(image[coverage > 0], 3.5, atol=1e-5)
    assert np.allclose(image[coverage <= 0], 0.0)


def test_same_matrix_is_the_identity_both_ways() -> None:
    image = np.random.default_rng(1).random((128, 128, 3), dtype=np.float32)
    there, _ = to_matrix(image, np.ones((128, 128), dtype=bool), 128, "linear")
    assert np.allclose(there, image, atol=1e-6)
    assert np.allclose(from_matrix(there[..., 0], (128, 128), "linear"), image[..., 0], atol=1e-6)


@pytest.mark.parametrize("shape", [(96, 96), (100, 128), (240, 240), (256, 192), (91, 113)])
def test_a_blob_keeps_place_and_height_there_and_back(shape: tuple[int, int]) -> None:
    image = blob(shape, centre=(0.42, 0.55), width=0.05)
    there, _ = to_matrix(image[..., None], np.ones(shape, dtype=bool), 128, "linear")
    expected = blob((128, 128), centre=(0.42, 0.55), width=0.05)
    assert np.abs(there[..., 0] - expected).max() < 0.03
    back = from_matrix(there[..., 0], shape, "linear")
    assert np.abs(back - image).max() < 0.05


def test_masked_average_ignores_what_is_outside() -> None:
    image = np.full((240, 240, 1), 7.0, dtype=np.float32)
    mask = np.ones((240, 240), dtype=bool)
    mask[:101] = False
    image[:101] = 1e6
    there, coverage = to_matrix(image, mask, 128, "linear")
    assert np.allclose(there[coverage > 0], 7.0, rtol=1e-5)
