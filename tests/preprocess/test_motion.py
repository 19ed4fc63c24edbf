"""Motion: a known displacement comes back, a bolus is not taken for one, a series at rest stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

from perfmap.errors import ConfigError, InputError
from perfmap.preprocess.motion import THRESHOLD, _without_bolus, correct_motion, estimate_displacement

VOXEL = (2.5, 2.5, 5.0)
SHAPE = (80, 80, 14)
BASELINE = slice(0, 4)
N_TIMES = 10
DEPTH = np.array([0, 0, 0, 0, 0, 0.4, 1.0, 0.6, 0.3, 0.2])  # of the bolus


def still_head(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Signal and fractional bolus loss of a head: scalp, bone, grey and white matter, ventricle, vessels."""
    x, y, z = np.meshgrid(
        *(edge * (np.arange(n) - (n - 1) / 2) for n, edge in zip(shape, VOXEL, strict=True)), indexing="ij"
    )

    def ellipsoid(a: float, b: float, c: float, middle: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
        return ((x - middle[0]) / a) ** 2 + ((y - middle[1]) / b) ** 2 + ((z - middle[2]) / c) ** 2 < 1

    rng = np.random.default_rng(4)
    texture = np.zeros(shape)
    for _ in range(12):
        kx, ky, kz = rng.normal(size=3) / 11
        texture += np.sin(kx * x + ky * y + kz * z + rng.uniform(0, 6))
    signal, loss = np.zeros(shape), np.zeros(shape)
    signal[ellipsoid(80, 94, 60)] = 150
    signal[ellipsoid(73, 87, 53)] = 15
    brain = ellipsoid(66, 80, 46)
    signal[brain], loss[brain] = 500, 0.19
    signal[brain & (texture > 0.5)], loss[brain & (texture > 0.5)] = 600, 0.36
    signal[brain & (np.abs(texture) < 0.2)], loss[brain & (np.abs(texture) < 0.2)] = 580, 0.6
    ventricle = ellipsoid(12, 34, 18, (5, 8, 4))
    signal[ventricle], loss[ventricle] = 800, 0
    return ndimage.gaussian_filter(signal, (1, 1, 0.5), mode="nearest"), ndimage.gaussian_filter(
        loss, (1, 1, 0.5)
    )


def moving_series(
    parameters: np.ndarray, *, shape: tuple[int, int, int] = SHAPE, noise: float = 10.0
) -> np.ndarray:
    """The head at the position given for each volume (°, mm), with a bolus and Rician noise."""
    rng = np.random.default_rng(1)
    signal, loss = still_head(shape)
    series = np.empty((*shape, len(parameters)), dtype=np.float32)
    edge, middle = np.array(VOXEL), (np.array(shape) - 1) / 2
    for t, (row, depth) in enumerate(zip(parameters, DEPTH, strict=True)):
        volume = signal * (1 - depth * loss)
        if row.any():  # the value at place q was at rest at R⁻¹(q − shift)
            inverse = np.linalg.inv(rotation(row[:3]))
            matrix = inverse * edge / edge[:, None]
            offset = middle - matrix @ middle - (inverse @ row[3:]) / edge
            volume = ndimage.affine_transform(volume, matrix, offset, order=1, mode="nearest")
        noisy = volume + noise * rng.standard_normal(shape)
        series[..., t] = np.hypot(noisy, noise * rng.standard_normal(shape)) if noise else volume
    return series


def rotation(degrees: np.ndarray) -> np.ndarray:
    """ITK's order: about y, then x, then z."""
    rx, ry, rz = (
        Rotation.from_euler(axis, angle, degrees=True).as_matrix()
        for axis, angle in zip("xyz", degrees, strict=True)
    )
    return rz @ rx @ ry


def path(volumes: slice, row: list[float]) -> np.ndarray:
    parameters = np.zeros((N_TIMES, 6))
    parameters[volumes] = row
    return parameters


def places(shape: tuple[int, int, int]) -> np.ndarray:
    """Points of the brain, mm."""
    brain = np.argwhere(still_head(shape)[0] > 400)[::50]
    return (brain - (np.array(shape) - 1) / 2) * VOXEL


def misplaced(found: np.ndarray, true: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Mean distance, in voxels along the worst axis, of the head's points between two sets of parameters."""
    points = places(shape)
    apart = [
        points @ (rotation(a[:3]) - rotation(b[:3])).T + a[3:] - b[3:]
        for a, b in zip(found, true, strict=True)
    ]
    return np.array([np.abs(d / VOXEL).mean(axis=0).max() for d in apart])


def test_known_rigid_displacement_is_recovered_during_the_bolus() -> None:
    true = path(slice(4, None), [1.0, -0.5, 2.0, 3.1, -1.7, 2.0])
    true[8:] = [0.0, 0.6, -1.5, -1.0, 2.2, -1.5]
    series = moving_series(true, noise=2.0)
    corrected, report = correct_motion(series, voxel_size=VOXEL, baseline=BASELINE)
    assert report is not None
    assert report.corrected
    assert misplaced(report.parameters, true, SHAPE).max() < 0.2
    at_rest = moving_series(np.zeros((N_TIMES, 6)), noise=0.0)
    brain = ndimage.binary_erosion(still_head(SHAPE)[0] > 400, iterations=2)
    before = np.abs(series - at_rest)[brain].mean()
    assert np.abs(corrected - at_rest)[brain].mean() < 0.5 * before


def test_small_displacement_is_measured_large_is_not_overlooked() -> None:
    """The quick look is exact to first order: near the truth at 1 mm, beyond the threshold from there on."""
    for size, tolerance in ((1.0, 0.45), (5.0, 2.5)):
        true = path(slice(5, None), [0, 0, 0, 0.6 * size, 0, 0.8 * size])
        report = estimate_displacement(moving_series(true), voxel_size=VOXEL, baseline=BASELINE)
        assert report.displacement[:5] == pytest.approx(0.0, abs=0.2)
        assert report.displacement[5:] == pytest.approx(size, abs=tolerance)
        assert not report.corrected


@pytest.mark.parametrize("noise", [5.0, 25.0])
@pytest.mark.parametrize("n_slices", [1, 14])
def test_bolus_alone_is_not_taken_for_motion(noise: float, n_slices: int) -> None:
    series = moving_series(np.zeros((N_TIMES, 6)), shape=(80, 80, n_slices), noise=noise)
    corrected, report = correct_motion(series, voxel_size=VOXEL, baseline=BASELINE)
    assert report is not None
    assert report.max_displacement < THRESHOLD
    assert not report.corrected
    assert corrected is series


def test_what_comes_and_goes_with_the_bolus_is_no_motion_and_a_jump_with_it_is() -> None:
    bump = np.exp(-0.5 * ((np.arange(40) - 20) / 3.0) ** 2)
    jump = (np.arange(40) >= 17).astype(float)
    still = _without_bolus(np.outer(2.0 * bump, np.ones(6)), bump)
    moved = _without_bolus(np.outer(2.0 * jump + bump, np.ones(6)), bump)
    assert np.abs(still).max() < 1e-9
    assert moved == pytest.approx(np.outer(2.0 * jump, np.ones(6)), abs=1e-9)


def with_a_large_lesion() -> np.ndarray:
    """A still head of which half loses four times as much signal as the other, in a thin stack."""
    shape = (80, 80, 5)
    series = moving_series(np.zeros((N_TIMES, 6)), shape=shape, noise=2.0)
    at_rest = series[..., BASELINE].mean(axis=3)
    side = np.clip((np.arange(80) - 45) / 10, 0, 1)[:, None, None]
    loss = 1 - series.mean(axis=(0, 1, 2)) / series[..., BASELINE].mean()
    return np.float32(series - 3 * at_rest[..., None] * side[..., None] * np.maximum(loss, 0))


def test_large_lesion_in_a_thin_stack_is_not_taken_for_motion() -> None:
    """It drew the head to one side by more than 1 mm."""
    series = with_a_large_lesion()
    report = estimate_displacement(series, voxel_size=VOXEL, baseline=BASELINE)
    assert report.max_displacement < THRESHOLD


@pytest.mark.parametrize("factor", [0.4, 1.5, 3.0])
@pytest.mark.parametrize("where", [1, 8])
def test_a_volume_that_jumps_out_in_brightness_is_no_motion(factor: float, where: int) -> None:
    still = with_a_large_lesion()
    spiked = still.copy()
    spiked[..., where] *= np.float32(factor)
    one = estimate_displacement(still, voxel_size=VOXEL, baseline=BASELINE)
    other = estimate_displacement(spiked, voxel_size=VOXEL, baseline=BASELINE, spikes=(where,))
    assert other.max_displacement == pytest.approx(one.max_displacement, abs=0.1)
    registered, _ = correct_motion(spiked, voxel_size=VOXEL, baseline=BASELINE, spikes=(where,))
    assert registered is spiked


def test_bad_values_do_not_hide_the_bolus_from_the_look() -> None:
    still = moving_series(np.zeros((N_TIMES, 6)), shape=(80, 80, 5), noise=2.0)
    spoilt = still.copy()
    spoilt[40, 40, 2, 3], spoilt[41, 40, 2, 7] = np.nan, np.inf
    one, other = (estimate_displacement(s, voxel_size=VOXEL, baseline=BASELINE) for s in (still, spoilt))
    assert other.displacement == pytest.approx(one.displacement, abs=0.02)


def test_head_at_rest_is_left_in_place_even_where_registration_is_asked_for() -> None:
    series = moving_series(np.zeros((N_TIMES, 6)), noise=0.0)[..., :5]
    corrected, report = correct_motion(series, voxel_size=VOXEL, baseline=BASELINE, mode="on")
    assert report is not None
    assert report.corrected
    assert report.max_displacement < 0.1
    assert np.abs(corrected - series).mean() < 0.01 * series.mean()


@pytest.mark.parametrize("n_slices", [1, 2, 3, 5, 7])
def test_few_slices_are_registered_within_the_slice(n_slices: int) -> None:
    shape = (80, 80, n_slices)
    true = path(slice(4, None), [0, 0, 3.0, 2.5, -3.0, 0])
    corrected, report = correct_motion(moving_series(true, shape=shape), voxel_size=VOXEL, baseline=BASELINE)
    assert report is not None
    assert report.in_plane_only
    assert np.array_equal(report.parameters[:, [0, 1, 5]], np.zeros((N_TIMES, 3)))
    # At the peak of the bolus a slice alone tells least: there, half a voxel.
    off = misplaced(report.parameters, true, shape)
    assert np.sort(off)[-2] < 0.25
    assert off.max() < 0.5
    assert corrected.shape == (*shape, N_TIMES)


def test_eight_slices_are_registered_in_three_dimensions() -> None:
    still = moving_series(np.zeros((N_TIMES, 6)), shape=(80, 80, 8))
    assert not estimate_displacement(still, voxel_size=VOXEL, baseline=BASELINE).in_plane_only


def test_slices_may_lie_across_any_axis() -> None:
    true = path(slice(4, None), [0, 0, 3.0, 2.5, -3.0, 0])
    axial = moving_series(true, shape=(80, 80, 1))
    sagittal = np.moveaxis(axial, 2, 0)
    _, report = correct_motion(sagittal, voxel_size=(5.0, 2.5, 2.5), baseline=BASELINE, mode="on")
    assert report is not None
    assert report.in_plane_only
    assert report.parameters[5] == pytest.approx([3.0, 0, 0, 0, 2.5, -3.0], abs=0.5)


def test_same_series_gives_the_same_bytes_on_any_number_of_threads() -> None:
    series = moving_series(path(slice(4, None), [0, 0, 0, 4.0, 0, 0]), shape=(80, 80, 3))
    n_threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    first, _ = correct_motion(series, voxel_size=VOXEL, baseline=BASELINE)
    try:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(n_threads + 2)
        second, _ = correct_motion(series, voxel_size=VOXEL, baseline=BASELINE)
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(n_threads)
    assert first.tobytes() == second.tobytes()
    assert first is not series
    assert first.min() >= 0


@pytest.mark.parametrize("factor", [0.01, 3.7])
def test_scale_of_the_signal_does_not_matter(factor: float) -> None:
    true = path(slice(5, None), [0, 0, 1.0, 1.5, 0, 1.0])
    series = moving_series(true)[..., :7]
    one, two = (
        correct_motion(np.float32(k) * series, voxel_size=VOXEL, baseline=BASELINE, mode="on")
        for k in (1, factor)
    )
    # The optimiser's path magnifies rounding; where it ends differs by a few hundredths of a millimetre at most.
    assert np.abs(one[1].displacement - two[1].displacement).max() < 0.05
    quick = [
        estimate_displacement(np.float32(k) * series, voxel_size=VOXEL, baseline=BASELINE).displacement
        for k in (1, factor)
    ]
    assert quick[0] == pytest.approx(quick[1], rel=1e-4, abs=1e-6)


def test_off_measures_nothing() -> None:
    series = np.ones((4, 4, 4, 5), dtype=np.float32)
    assert correct_motion(series, voxel_size=VOXEL, baseline=BASELINE, mode="off") == (series, None)


def test_refusals_say_what_was_wanted() -> None:
    series = np.ones((8, 8, 4, 5), dtype=np.float32)
    with pytest.raises(InputError, match="flat"):
        estimate_displacement(series, voxel_size=VOXEL, baseline=BASELINE)
    with pytest.raises(InputError, match="none of 5 volumes"):
        estimate_displacement(series, voxel_size=VOXEL, baseline=slice(7, 9))
    with pytest.raises(InputError, match="four axes"):
        estimate_displacement(series[..., 0], voxel_size=VOXEL, baseline=BASELINE)
    with pytest.raises(ConfigError, match="auto, on, off"):
        correct_motion(series, voxel_size=VOXEL, baseline=BASELINE, mode="yes")


def test_in_place_gives_the_same_series() -> None:
    true = path(slice(5, None), [0, 0, 1.0, 1.5, 0, 1.0])
    series = moving_series(true)[..., :7]
    apart, _ = correct_motion(series.copy(), voxel_size=VOXEL, baseline=BASELINE, mode="on")
    given = series.copy()
    same, _ = correct_motion(given, voxel_size=VOXEL, baseline=BASELINE, mode="on", in_place=True)
    assert same is given
    assert np.array_equal(apart, same)
