"""Zero filling undone: what was acquired comes back, and maps return to where they belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from perfmap.errors import InputError
from perfmap.preprocess.acquired_grid import WorkingGrid, working_grid
from perfmap.series import Series, Volume
from tests.interpolated import zero_filled

AFFINE = np.array([[2.0, 0.1, 0.0, -30.0], [-0.1, 2.0, 0.3, 12.0], [0.0, -0.2, 5.0, 7.0], [0, 0, 0, 1.0]])


def series_of(signal: np.ndarray, affine: np.ndarray = AFFINE) -> Series:
    return Series(signal.astype(np.float32), affine, time_step=1.5, repetition_time=1.5)


def acquired_images(shape: tuple[int, int, int] = (16, 12, 3), n_times: int = 4) -> np.ndarray:
    """Complex images with noise, without structure that would hide a shift."""
    rng = np.random.default_rng(5)
    return 500.0 + 10.0 * (rng.normal(size=(*shape, n_times)) + 1j * rng.normal(size=(*shape, n_times)))


def interpolated(factor: int = 2) -> tuple[np.ndarray, WorkingGrid]:
    """Magnitudes as acquired, and the working grid of the same images after zero filling."""
    images = acquired_images()
    magnitude = np.abs(images)
    # The scanner's first sample is the last voxel of the RAS+ array.
    filled = zero_filled(images[::-1, ::-1], factor)[::-1, ::-1]
    return magnitude, working_grid(series_of(filled), (16, 12, 3))


@pytest.mark.parametrize("factor", [2, 3])
def test_cutting_off_the_zeros_gives_back_what_was_acquired(factor: int) -> None:
    magnitude, grid = interpolated(factor)
    # Not to the last bit: the magnitude of a filled image is wider in frequency than the image itself.
    apart = grid.series.signal - magnitude
    assert apart.std() < 0.02 * magnitude.std()
    assert np.abs(apart).max() < 0.1 * magnitude.std()


def test_every_acquired_voxel_lies_where_the_stored_one_of_its_value_lies() -> None:
    _, grid = interpolated()
    i = np.array([3, 5, 2, 1])
    at = grid.series.affine @ i
    stored = AFFINE @ [2 * i[0] + 1, 2 * i[1] + 1, i[2], 1]
    assert np.allclose(at, stored)
    corner = np.array([15, 11, 2, 1])
    assert np.allclose(grid.series.affine @ corner, AFFINE @ [31, 23, 2, 1])  # the shared one


def test_noise_of_neighbours_is_independent_again() -> None:
    images = 500.0 + np.random.default_rng(0).normal(0, 10, (64, 64, 1, 1))
    stored = zero_filled(images, 2)
    grid = working_grid(series_of(stored), (64, 64, 1))

    def between_neighbours(values: np.ndarray) -> float:
        return float(np.corrcoef(values[1:, :, 0, 0].ravel(), values[:-1, :, 0, 0].ravel())[0, 1])

    assert between_neighbours(stored) > 0.5
    assert abs(between_neighbours(grid.series.signal)) < 0.05


def test_a_map_returns_linear_in_plane_and_slice_by_slice() -> None:
    _, grid = interpolated()
    places = np.stack(np.meshgrid(*map(np.arange, (16, 12, 3)), indexing="ij"), axis=-1)

    def plane(at: np.ndarray) -> np.ndarray:
        return np.round(at @ [0.3, 0.1, 0.0], 6)

    values = plane(places @ grid.series.affine[:3, :3].T + grid.series.affine[:3, 3])
    values[:, :, 1] *= 100  # a slice apart from its neighbours
    valid = np.ones(values.shape, dtype=bool)
    back = grid.values(Volume(values.astype(np.float32), grid.series.affine, "nrcbv"), valid)
    assert np.array_equal(back.affine, AFFINE)
    fine = np.stack(np.meshgrid(*map(np.arange, back.shape), indexing="ij"), axis=-1)
    truth = plane(fine @ AFFINE[:3, :3].T + AFFINE[:3, 3])
    truth[:, :, 1] *= 100
    assert np.allclose(
        back.array[1:, 1:], truth[1:, 1:], rtol=1e-4, atol=1e-3
    )  # the outermost has one neighbour


def test_voxels_without_a_reading_give_nothing_to_their_neighbours() -> None:
    _, grid = interpolated()
    values = np.full((16, 12, 3), 2.0, dtype=np.float32)
    valid = np.zeros(values.shape, dtype=bool)
    valid[4:9, 3:8] = True
    values[~valid] = np.nan
    back = grid.values(Volume(values, grid.series.affine), valid).array
    labels = grid.labels(Volume(valid.astype(np.uint8), grid.series.affine)).array
    assert np.allclose(back[labels == 1], 2.0)
    assert np.isnan(back[labels == 0]).all()
    assert labels.sum() == 4 * valid.sum()


def test_masks_come_along() -> None:
    _, grid = interpolated()
    fine = np.zeros((32, 24, 3), dtype=bool)
    fine[8:20, 6:16, 1] = True
    coarse = grid.mask(fine, "mask")
    assert abs(4 * coarse.sum() - fine.sum()) <= 0.2 * fine.sum()
    assert not coarse[:, :, [0, 2]].any()
    artery = np.zeros_like(fine)
    artery[11, 9, 1] = True  # one voxel
    assert grid.mask(artery, "artery", share=0.0).sum() == 1
    assert not grid.mask(np.zeros_like(fine), "artery", share=0.0).any()
    with pytest.raises(
        InputError, match=r"^artery is too small for the acquired grid of 16×12×3 .*--grid stored$"
    ):
        grid.mask(artery, "artery")


def test_what_is_not_interpolated_is_the_very_same_series() -> None:
    series = series_of(np.abs(acquired_images()))
    for acquired in (None, (16, 12, 3)):
        grid = working_grid(series, acquired)
        assert grid.series is series
        assert grid.note == ""
        volume = Volume(series.signal[..., 0], series.affine)
        assert grid.values(volume, np.ones(volume.shape, dtype=bool)) is volume


def test_values_that_are_not_finite_are_not_spread_over_slices() -> None:
    filled = zero_filled(acquired_images(), 2)
    filled[5, 5, 1, 2] = np.nan
    grid = working_grid(series_of(filled), (16, 12, 3))
    assert grid.is_stored
    assert "not finite" in grid.note


def test_no_magnitude_becomes_negative() -> None:
    head = np.zeros((32, 24, 3, 4))
    head[8:24, 6:18] = 900.0  # edges sharper than what was acquired: they ring
    grid = working_grid(series_of(head), (16, 12, 3))
    assert grid.series.signal.min() >= 0.0


def second_echo_of() -> Series:
    return replace(series_of(zero_filled(acquired_images() / 2, 2)), echo_time=0.05)


def test_a_second_echo_goes_the_same_way() -> None:
    first, second = series_of(zero_filled(acquired_images(), 2)), second_echo_of()
    grid = working_grid(first, (16, 12, 3), second)
    assert grid.second_echo is not None
    assert grid.second_echo.signal.shape == grid.series.signal.shape == (16, 12, 3, 4)
    assert np.array_equal(grid.second_echo.affine, grid.series.affine)
    assert grid.second_echo.echo_time == 0.05
    assert working_grid(first, None, second).second_echo is second


@pytest.mark.parametrize("spoiled", [0, 1])
def test_both_echoes_are_left_where_either_is_not_finite(spoiled: int) -> None:
    echoes = series_of(zero_filled(acquired_images(), 2)), second_echo_of()
    echoes[spoiled].signal[5, 5, 1, 2] = np.nan
    grid = working_grid(echoes[0], (16, 12, 3), echoes[1])
    assert (grid.series, grid.second_echo) == echoes
    assert grid.is_stored
    assert "not finite" in grid.note


def test_echoes_of_different_shape_are_left_as_they_are() -> None:
    first, second = series_of(zero_filled(acquired_images(), 2)), second_echo_of()
    grid = working_grid(first, (16, 12, 3), replace(second, signal=second.signal[..., :3]))
    assert grid.is_stored
