"""What a network is told beside the curves."""

from dataclasses import replace

import numpy as np
import pytest

from perfmap.engine.train_config import default_inputs
from perfmap.errors import InputError
from perfmap.phantom.case import draw_case, series_of, simulate_case
from perfmap.physics.bolus import first_pass_integral
from perfmap.physics.leakage import cumulative_integral
from perfmap.physics.reference_fit import READINGS, delayed, disperse
from perfmap.preprocess.features import (
    FIT_MAPS,
    SCALARS,
    T1_SCALARS,
    channel_maps,
    context_length,
    fit_functionals,
    rescale,
    sample_voxels,
    t1_scalars,
)
from perfmap.preprocess.normalize import REFERENCE_DURATION
from perfmap.preprocess.pipeline import Prepared, network_slice, prepare_series, working_matrix
from perfmap.series import Series

INPUTS = default_inputs("voxel-unet")
REFERENCE = slice(INPUTS.n_times + len(SCALARS), 2 * INPUTS.n_times + len(SCALARS))


@pytest.fixture(scope="module")
def series() -> Series:
    case = simulate_case(draw_case(np.random.default_rng(2), regime="plain", geometry="stack", n_slices=3))
    return series_of(case)


@pytest.fixture(scope="module")
def prepared(series: Series) -> Prepared:
    return prepare_series(series, INPUTS)


def channel(prepared: Prepared, name: str, k: int = 1) -> np.ndarray:
    return network_slice(prepared, k)[0][INPUTS.n_times + channel_maps(INPUTS).index(name)]


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
    later, told = rescale(image, context, 0.5, inputs=INPUTS, white_matter_known=True)
    outside = ~prepared.mask[..., 1]
    assert np.allclose(later, network_slice(twice, 1)[0], atol=1e-4)
    assert (later[:, outside] == 0).all()
    assert told[INPUTS.n_times + SCALARS.index("log_scale")] == pytest.approx(
        np.log(2.0 * prepared.scale), abs=1e-5
    )
    assert told[INPUTS.n_times + SCALARS.index("white_matter_known")] == 1.0
    assert np.allclose(told[REFERENCE], 0.5 * context[REFERENCE])
    assert np.array_equal(told[-len(T1_SCALARS) :], context[-len(T1_SCALARS) :])


def test_the_reference_curve_is_that_of_tissue_on_the_grid_and_in_the_curves_unit(prepared: Prepared) -> None:
    assert prepared.leakage_reference is not None
    wanted = prepared.time_mapping(prepared.leakage_reference) * REFERENCE_DURATION / prepared.scale
    assert np.allclose(prepared.context[REFERENCE], wanted, atol=1e-6)
    tissue = network_slice(prepared, 1)[0][: INPUTS.n_times, prepared.mask[..., 1]].mean(axis=1)
    assert np.corrcoef(wanted, tissue)[0, 1] > 0.98


def test_a_contract_without_the_reference_curve_is_told_the_rest(series: Series, prepared: Prepared) -> None:
    without = INPUTS.model_copy(update={"reference_curve": False})
    context = prepare_series(series, without).context
    assert len(context) == context_length(without)
    assert np.array_equal(context, np.delete(prepared.context, REFERENCE))


def test_a_contract_of_an_earlier_network_reads_what_it_read(series: Series, prepared: Prepared) -> None:
    before = INPUTS.model_copy(update={"reference_fit": False, "t1_weighting": False})
    earlier = prepare_series(series, before)
    assert len(earlier.context) == context_length(before)
    assert np.array_equal(earlier.context, prepared.context[: context_length(before)])
    channels = network_slice(earlier, 1)[0]
    assert len(channels) == before.n_times + len(channel_maps(before))
    assert np.array_equal(channels, network_slice(prepared, 1)[0][: len(channels)])


def test_the_fits_read_tissue_that_does_not_leak_as_the_first_pass_does(prepared: Prepared) -> None:
    mask = prepared.mask[..., 1]
    first_pass = channel(prepared, "first_pass")[mask]
    for name in ("fit_tight", "fit_middle"):
        fitted = channel(prepared, name)[mask]
        assert fitted.sum() / first_pass.sum() == pytest.approx(1.0, abs=0.06), name
        assert np.corrcoef(fitted, first_pass)[0, 1] > 0.9, name


def test_without_a_reference_the_fits_are_the_first_pass(series: Series, prepared: Prepared) -> None:
    ratio = np.random.default_rng(0).normal(size=(5, series.n_times)).astype(np.float32)
    weights = fit_functionals(ratio, None, prepared.bolus, time_step=series.time_step)
    wanted = first_pass_integral(ratio, prepared.bolus, time_step=series.time_step)
    assert np.allclose(ratio @ weights, np.stack([wanted] * 3 + [0 * wanted] * 2, axis=1), atol=1e-4)


def test_t1_weighting_grows_with_the_flip_angle_and_is_unknown_without_it(series: Series) -> None:
    weak, strong = (t1_scalars(replace(series, flip_angle=flip)) for flip in (30.0, 90.0))
    assert 0 < weak[0] < strong[0]
    # At 90° the signal is 1 − e, e = exp(−TR/T1): d ln S/d R1 = TR·e/(1 − e); grey matter at 3 T has 1.82 s.
    rest = np.exp(-series.repetition_time / 1.82)
    assert strong[0] == pytest.approx(series.repetition_time * rest / (1 - rest), rel=1e-5)
    assert tuple(strong[1:]) == (1.0, 1.0, 1.0)
    low, high = (t1_scalars(replace(series, field_strength=field)) for field in (0.5, 7.0))
    assert (low[2], high[2]) == (-1.0, 1.0)  # beyond the training: as its nearest end
    assert np.array_equal(t1_scalars(replace(series, flip_angle=7.0)), weak)


@pytest.mark.parametrize("unknown", [("flip_angle",), ("field_strength",), ("flip_angle", "field_strength")])
def test_where_flip_angle_or_field_is_not_known_nothing_is_said_of_t1(
    series: Series, unknown: tuple[str, ...]
) -> None:
    told = prepare_series(replace(series, **dict.fromkeys(unknown)), INPUTS).context
    assert not told[-len(T1_SCALARS) :].any()
    assert prepare_series(series, INPUTS).context[-len(T1_SCALARS) :].all()


@pytest.mark.parametrize("number", [0.0, -3.0, float("nan"), float("inf"), 181.0])
def test_a_series_of_an_impossible_protocol_cannot_be_made(series: Series, number: float) -> None:
    for name in ("flip_angle", "field_strength", "time_step"):
        if name == "flip_angle" or number != 181.0:
            with pytest.raises(InputError, match=f"{name} is"):
                replace(series, **{name: number})


def test_the_leakage_channel_is_the_leakage_at_the_end_in_the_unit_of_the_curves(prepared: Prepared) -> None:
    reference, step = prepared.leakage_reference, prepared.series.time_step
    assert reference is not None
    leak = 0.01 * cumulative_integral(reference, time_step=step)
    still = np.tile(reference, (4, 1)).astype(np.float32)
    still[:, prepared.bolus.baseline] = 0.0
    weights = fit_functionals(still, reference, prepared.bolus, time_step=step)
    found = dict(zip(FIT_MAPS, (2.0 * reference + leak) @ weights, strict=True))
    level = float(first_pass_integral(reference, prepared.bolus, time_step=step))
    assert found["fit_leaky"] == pytest.approx(2.0 * level, rel=0.05)
    assert found["fit_leak"] == pytest.approx(leak[-1] * REFERENCE_DURATION, rel=0.1)
    assert found["fit_early"] == pytest.approx(0.0, abs=0.1 * level)


def test_a_series_without_noise_gives_no_wilder_fits(series: Series, prepared: Prepared) -> None:
    """Dispersed copies of the reference are not all that tissue does: the fit must not trust them to the last digit."""
    reference, step = prepared.leakage_reference, series.time_step
    assert reference is not None
    level = float(first_pass_integral(reference, prepared.bolus, time_step=step))
    for tau in (3.0, 6.0, 12.0):
        slow = delayed(disperse(reference, time_step=step, tau=tau), time_step=step, delay=2.0)
        still = np.tile(slow, (4, 1)).astype(np.float32)
        still[:, prepared.bolus.baseline] = 0.0
        weights = fit_functionals(still, reference, prepared.bolus, time_step=step)
        found = slow @ weights[:, : len(READINGS)] / level
        assert np.abs(found - 1.0).max() < 0.3, (tau, found)


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
