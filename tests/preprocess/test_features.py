"""What a network is told beside the curves."""

from dataclasses import replace

import numpy as np
import pytest

from perfmap.engine.train_config import default_inputs
from perfmap.phantom.case import draw_case, series_of, simulate_case
from perfmap.preprocess.features import MAPS, SCALARS, context_length, rescale, sample_voxels
from perfmap.preprocess.normalize import REFERENCE_DURATION
from perfmap.preprocess.pipeline import Prepared, network_slice, prepare_series, working_matrix
from perfmap.series import Series

INPUTS = default_inputs("voxel-unet")


@pytest.fixture(scope="module")
def series() -> Series:
    case = simulate_case(draw_case(np.random.default_rng(2), regime="plain", geometry="stack", n_slices=3))
    return series_of(case)


@pytest.fixture(scope="module")
def prepared(series: Series) -> Prepared:
    return prepare_series(series, INPUTS)


def channel(prepared: Prepared, name: str, k: int = 1) -> np.ndarray:
    return network_slice(prepared, k)[0][INPUTS.n_times + MAPS.index(name)]


def test_the_first_channel_is_the_first_pass_map_over_its_scale(prepared: Prepared) -> None:
    plain = np.clip(prepared.first_pass[..., 1] / prepared.scale, -20, 20)
    assert np.allclose(channel(prepared, "first_pass"), plain, atol=1e-5)


def test_a_factor_on_the_signal_changes_nothing(series: Series, prepared: Prepared) -> None:
    other = prepare_series(replace(series, signal=series.signal * np.float32(7.0)), INPUTS)
    assert np.allclose(network_slice(other, 1)[0], network_slice(prepared, 1)[0], atol=1e-3)
    assert np.allclose(other.context, prepared.context, atol=1e-5)


def test_tissue_that_does_not_leak_is_not_corrected(prepared: Prepared) -> None:
    mask = prepared.mask[..., 1]
    ratio = channel(prepared, "bsw")[mask].sum() / channel(prepared, "first_pass")[mask].sum()
    assert ratio == pytest.approx(1.0, abs=0.03)
    assert np.allclose(
        channel(prepared, "bsw"), channel(prepared, "first_pass") + channel(prepared, "k2"), atol=1e-4
    )


def test_another_scale_afterwards_is_that_scale_from_the_start(prepared: Prepared) -> None:
    image, context = network_slice(prepared, 1)[0], prepared.context
    twice = replace(prepared, scale=2.0 * prepared.scale)
    later, told = rescale(image, context, 0.5, n_times=INPUTS.n_times, white_matter_known=True)
    outside = ~prepared.mask[..., 1]
    assert np.allclose(later, network_slice(twice, 1)[0], atol=1e-4)
    assert (later[:, outside] == 0).all()
    assert told[INPUTS.n_times + SCALARS.index("log_scale")] == pytest.approx(
        np.log(2.0 * prepared.scale), abs=1e-5
    )
    assert told[INPUTS.n_times + SCALARS.index("white_matter_known")] == 1.0
    reference = slice(INPUTS.n_times + len(SCALARS), None)
    assert np.allclose(told[reference], 0.5 * context[reference])


def test_the_reference_curve_is_that_of_tissue_on_the_grid_and_in_the_curves_unit(prepared: Prepared) -> None:
    assert prepared.leakage_reference is not None
    wanted = prepared.time_mapping(prepared.leakage_reference) * REFERENCE_DURATION / prepared.scale
    assert np.allclose(prepared.context[INPUTS.n_times + len(SCALARS) :], wanted, atol=1e-6)
    tissue = network_slice(prepared, 1)[0][: INPUTS.n_times, prepared.mask[..., 1]].mean(axis=1)
    assert np.corrcoef(wanted, tissue)[0, 1] > 0.98


def test_a_contract_without_the_reference_curve_is_told_the_rest(series: Series, prepared: Prepared) -> None:
    without = INPUTS.model_copy(update={"reference_curve": False})
    context = prepare_series(series, without).context
    assert len(context) == context_length(without)
    assert np.array_equal(context, prepared.context[: len(context)])


def test_what_is_not_known_is_said_to_be_unknown(series: Series, prepared: Prepared) -> None:
    without = prepare_series(replace(series, echo_time=None), INPUTS)
    known = INPUTS.n_times + SCALARS.index("echo_time_known")
    assert (prepared.context[known], without.context[known]) == (1.0, 0.0)


def test_fine_pixels_are_brought_to_the_networks_matrix_and_others_kept(
    prepared: Prepared, series: Series
) -> None:
    assert working_matrix(prepared) == series.signal.shape[0]
    fine = replace(series, affine=series.affine @ np.diag([0.5, 0.5, 0.5, 1.0]))
    assert working_matrix(replace(prepared, series=fine)) == INPUTS.matrix


def test_a_sample_of_voxels_is_a_part_of_the_mask_and_bounded() -> None:
    mask = np.random.default_rng(0).random((80, 80, 40)) < 0.6
    chosen = sample_voxels(mask)
    assert not (chosen & ~mask).any()
    assert 20000 <= chosen.sum() <= 40000
