"""Metrics: known answers, identities, and what another implementation says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from perfmap import metrics
from perfmap.errors import InputError

SEEDS = st.integers(0, 2**32 - 1)


def wavy(shape: tuple[int, ...] = (24, 20)) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A pair of maps written down in closed form, so that the golden numbers need no random generator."""
    x, y = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    reference = 2.0 + np.sin(x / 3.0) * np.cos(y / 4.0)
    return reference + 0.2 * np.cos(x * y / 7.0), reference


def random_pair(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    reference = rng.gamma(2.0, 1.0, (12, 11))
    return reference + rng.normal(0.0, 0.3, (12, 11)), reference


def test_perfect_prediction() -> None:
    _, reference = wavy()
    assert metrics.nrmse_rms(reference, reference) == 0.0
    assert metrics.nrmse_range(reference, reference, data_range=3.0) == 0.0
    assert metrics.psnr(reference, reference, data_range=3.0) == float("inf")
    assert metrics.mae_symmetric(reference, reference, data_range=3.0) == 0.0
    assert metrics.ssim(reference, reference, data_range=3.0) == pytest.approx(1.0, abs=1e-12)
    assert metrics.ccc(reference, reference) == pytest.approx(1.0, abs=1e-12)
    assert metrics.regression(reference, reference) == pytest.approx((1.0, 0.0), abs=1e-12)


def test_constant_offset_by_hand() -> None:
    reference = np.array([0.0, 3.0, 4.0, 5.0])  # mean 3, mean square 12.5, variance 3.5
    prediction = reference + 0.5
    assert metrics.nrmse_rms(prediction, reference) == pytest.approx(0.5 / np.sqrt(12.5))
    assert metrics.nrmse_range(prediction, reference, data_range=5.0) == pytest.approx(0.1)
    assert metrics.psnr(prediction, reference, data_range=5.0) == pytest.approx(20.0)
    assert metrics.mae_symmetric(prediction, reference, data_range=5.0) == pytest.approx(0.2)
    assert metrics.ccc(prediction, reference) == pytest.approx(7.0 / 7.25)
    assert metrics.regression(prediction, reference) == pytest.approx((1.0, 0.5))


def test_wrong_scale_by_hand() -> None:
    reference = np.array([1.0, 3.0])  # mean 2, variance 1
    assert metrics.regression(2.0 * reference, reference) == pytest.approx((2.0, 0.0))
    assert metrics.ccc(2.0 * reference, reference) == pytest.approx(2 * 2 / (4 + 1 + 4))
    assert metrics.ccc(-reference + 4.0, reference) == pytest.approx(-1.0)


def test_map_of_zeros_has_an_error_of_exactly_the_reference() -> None:
    _, reference = wavy()
    assert metrics.nrmse_rms(np.zeros_like(reference), reference) == 1.0
    assert metrics.mae_symmetric(np.zeros(3), np.full(3, 4.0), data_range=4.0) == 2.0


@given(SEEDS, st.floats(0.1, 100.0))
def test_nrmse_range_is_psnr_in_another_dress(seed: int, data_range: float) -> None:
    prediction, reference = random_pair(seed)
    decibels = metrics.psnr(prediction, reference, data_range=data_range)
    error = metrics.nrmse_range(prediction, reference, data_range=data_range)
    assert error == pytest.approx(10 ** (-decibels / 20))


@pytest.mark.parametrize(("nrmse", "decibels"), [(0.027, 31.493), (0.016, 36.095), (0.015, 36.412)])
def test_the_papers_table_holds_nrmse_by_range(nrmse: float, decibels: float) -> None:
    reference = np.zeros((8, 8))
    prediction = reference + 10 ** (-decibels / 20)  # the error that has the printed PSNR on [0, 1]
    assert metrics.nrmse_range(prediction, reference, data_range=1.0) == pytest.approx(nrmse, abs=5e-4)


@given(SEEDS, st.floats(1e-3, 1e3))
def test_a_common_factor_changes_nothing(seed: int, factor: float) -> None:
    prediction, reference = random_pair(seed)
    scaled = factor * prediction, factor * reference
    assert metrics.nrmse_rms(*scaled) == pytest.approx(metrics.nrmse_rms(prediction, reference))
    assert metrics.ccc(*scaled) == pytest.approx(metrics.ccc(prediction, reference))
    for metric in (metrics.psnr, metrics.ssim, metrics.mae_symmetric):
        before = metric(prediction, reference, data_range=5.0)
        assert metric(*scaled, data_range=5.0 * factor) == pytest.approx(before)


@given(SEEDS)
def test_concordance_never_exceeds_correlation(seed: int) -> None:
    prediction, reference = random_pair(seed)
    correlation = np.corrcoef(prediction.ravel(), reference.ravel())[0, 1]
    assert metrics.ccc(prediction, reference) <= correlation + 1e-12


def test_golden_numbers() -> None:
    # Made with scikit-image 0.26.0, numpy 2.4.6, on `prediction, reference = wavy()`:
    #   peak_signal_noise_ratio(reference, prediction, data_range=3.0)
    #   structural_similarity(reference, prediction, data_range=3.0)
    #   normalized_root_mse(reference, prediction, normalization="euclidean")
    prediction, reference = wavy()
    assert metrics.psnr(prediction, reference, data_range=3.0) == pytest.approx(26.182335071718, rel=1e-9)
    assert metrics.ssim(prediction, reference, data_range=3.0) == pytest.approx(0.919582017836, rel=1e-9)
    assert metrics.nrmse_rms(prediction, reference) == pytest.approx(0.072199721431, rel=1e-9)


def test_agrees_with_the_installed_scikit_image() -> None:
    prediction, reference = wavy((31, 19))
    assert metrics.psnr(prediction, reference, data_range=3.0) == pytest.approx(
        peak_signal_noise_ratio(reference, prediction, data_range=3.0)
    )
    assert metrics.ssim(prediction, reference, data_range=3.0) == pytest.approx(
        structural_similarity(reference, prediction, data_range=3.0)
    )
    assert metrics.nrmse_range(prediction, reference, data_range=3.0) == pytest.approx(
        np.sqrt(mean_squared_error(reference, prediction)) / 3.0
    )


def test_ssim_is_taken_slice_by_slice() -> None:
    pairs = [random_pair(seed) for seed in range(3)]
    stack = [np.stack([pair[i] for pair in pairs], axis=-1) for i in (0, 1)]
    singles = [metrics.ssim(*pair, data_range=6.0) for pair in pairs]
    assert metrics.ssim(*stack, data_range=6.0) == pytest.approx(np.mean(singles))
    assert metrics.ssim_map(*stack, data_range=6.0)[..., 1] == pytest.approx(
        metrics.ssim_map(*pairs[1], data_range=6.0)
    )


def test_undefined_answers_are_said_not_guessed() -> None:
    zeros, ones = np.zeros(4), np.ones(4)
    assert np.isnan(metrics.nrmse_rms(zeros, zeros))
    assert metrics.nrmse_rms(ones, zeros) == float("inf")
    assert np.isnan(metrics.ccc(ones, ones))
    assert np.isnan(metrics.regression(zeros, ones)).all()


@pytest.mark.parametrize("data_range", [0.0, -1.0, float("nan"), float("inf")])
def test_data_range_must_be_positive(data_range: float) -> None:
    prediction, reference = wavy()
    for metric in (metrics.nrmse_range, metrics.psnr, metrics.mae_symmetric, metrics.ssim):
        with pytest.raises(InputError, match="data range"):
            metric(prediction, reference, data_range=data_range)


def test_data_range_has_no_default() -> None:
    prediction, reference = wavy()
    for metric in (metrics.nrmse_range, metrics.psnr, metrics.mae_symmetric, metrics.ssim, metrics.ssim_map):
        with pytest.raises(TypeError, match="data_range"):
            metric(prediction, reference)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("prediction", "reference", "said"),
    [
        (np.ones((2, 3)), np.ones((3, 2)), r"\(2, 3\).*\(3, 2\)"),
        (np.ones(0), np.ones(0), "no voxel"),
        (np.array([1.0, np.nan, np.inf]), np.ones(3), "prediction holds 2 non-finite"),
        (np.ones(2), np.array([1.0, np.nan]), "reference holds 1 non-finite"),
    ],
)
def test_refusals(prediction: NDArray[np.float64], reference: NDArray[np.float64], said: str) -> None:
    for metric in (metrics.nrmse_rms, metrics.ccc, metrics.regression):
        with pytest.raises(InputError, match=said):
            metric(prediction, reference)


def test_ssim_refuses_slices_smaller_than_its_window() -> None:
    with pytest.raises(InputError, match="at least 7 pixels"):
        metrics.ssim(np.ones((6, 30)), np.ones((6, 30)), data_range=1.0)


class TestSdOfMean:
    """Known answers: independent errors, one error for all, and the double sum itself."""

    def region(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(5)
        return rng.uniform(0.1, 0.4, (9, 8, 4)), rng.random((9, 8, 4)) < 0.4

    def test_independent_errors_average_out(self) -> None:
        sd, mask = self.region()
        expected = np.sqrt((sd[mask] ** 2).sum()) / mask.sum()
        assert metrics.sd_of_mean(sd, mask, voxel_size=(2, 2, 5), correlation_length=0.0) == pytest.approx(
            expected
        )

    def test_an_error_common_to_all_stays(self) -> None:
        sd, mask = self.region()
        found = metrics.sd_of_mean(sd, mask, voxel_size=(2, 2, 5), correlation_length=1e4)
        assert found == pytest.approx(sd[mask].mean(), rel=1e-3)

    def test_in_between_it_is_the_double_sum(self) -> None:
        sd, mask = self.region()
        places = np.argwhere(mask) * np.array([2.0, 2.0, 5.0])
        squared = ((places[:, None] - places[None]) ** 2).sum(axis=-1)
        double = (sd[mask][:, None] * sd[mask][None] * np.exp(-squared / (2 * 4.0**2))).sum()
        found = metrics.sd_of_mean(sd, mask, voxel_size=(2, 2, 5), correlation_length=4.0)
        assert found == pytest.approx(np.sqrt(double) / mask.sum(), rel=1e-3)


def test_coefficient_of_variation_of_known_values() -> None:
    assert metrics.coefficient_of_variation([9.0, 10.0, 11.0]) == pytest.approx(0.1)
    assert metrics.coefficient_of_variation([5.0, 5.0]) == 0.0
    assert np.isnan(metrics.coefficient_of_variation([-1.0, 1.0]))
    with pytest.raises(InputError, match="at least 2"):
        metrics.coefficient_of_variation([1.0])
    with pytest.raises(InputError, match="not finite"):
        metrics.coefficient_of_variation([1.0, np.nan])


def test_within_subject_cv_of_known_pairs() -> None:
    # |9 − 11| / √2 over 10 is 0.1414 in both pairs, whatever their level
    assert metrics.within_subject_cv([9.0, 90.0], [11.0, 110.0]) == pytest.approx(0.2 / np.sqrt(2))
    rng = np.random.default_rng(0)
    level = rng.uniform(1, 9, size=100_000)
    pair = level * (1 + 0.05 * rng.standard_normal((2, level.size)))
    assert metrics.within_subject_cv(*pair) == pytest.approx(0.05, rel=0.01)
    with pytest.raises(InputError, match="mean of 0"):
        metrics.within_subject_cv([1.0], [-1.0])


def test_cohen_kappa_of_the_textbook() -> None:
    # Two raters, 50 items: 20 yes–yes, 5 yes–no, 10 no–yes, 15 no–no: observed 0.70, by chance 0.50
    first = np.repeat([True, True, False, False], [20, 5, 10, 15])
    second = np.repeat([True, False, True, False], [20, 5, 10, 15])
    assert metrics.cohen_kappa(first, second) == pytest.approx(0.4)
    assert metrics.cohen_kappa(first, first) == 1.0
    assert np.isnan(metrics.cohen_kappa([1, 1], [1, 1]))
