"""The acquisition: peak drops of the field's protocols, exact limits, and what each artefact does."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from perfmap.errors import ConfigError
from perfmap.phantom.acquisition import acquire, draw_acquisition
from perfmap.phantom.contrast import perfused_signal
from perfmap.phantom.injection import arterial_concentration, slice_offsets
from perfmap.phantom.motion import move, poses, rotation_matrix
from perfmap.phantom.priors.acquisition import ACQUISITION, HELD_OUT
from perfmap.phantom.protocol import (
    AcquisitionParameters,
    ArtefactParameters,
    ArterialParameters,
    MotionParameters,
)
from perfmap.phantom.regimes import held_out_numbers
from perfmap.phantom.subject import Subject
from tests.phantom.tables import ARTERY, GM, WM, at_field, subject_of

QUIET = AcquisitionParameters(n_times=60, repetition_time=1.25)
STEADY = 6


def changed(base: AcquisitionParameters = QUIET, **values: object) -> AcquisitionParameters:
    return AcquisitionParameters.model_validate(base.model_dump() | values)


def drop(curve: np.ndarray) -> float:
    """Deepest drop below the baseline, per cent."""
    return float(100 * (1 - curve.min() / curve[STEADY]))


# --- The physics ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "echo_time", "repetition_time", "flip_angle", "grey", "white"),
    [
        (3.0, 0.030, 1.25, 60.0, 36, 19),
        (3.0, 0.030, 1.25, 30.0, 38, 20),
        (1.5, 0.045, 1.25, 60.0, 33, 18),
        (3.0, 0.045, 2.00, 90.0, 49, 28),
    ],
)
def test_peak_drops_of_published_protocols(
    field: float, echo_time: float, repetition_time: float, flip_angle: float, grey: float, white: float
) -> None:
    acquisition = changed(
        field_strength=field, echo_time=echo_time, repetition_time=repetition_time, flip_angle=flip_angle
    )
    curves = perfused_signal(subject_of(at_field(GM, field), at_field(WM, field)), acquisition)[:, 0, 0]
    assert drop(curves[0]) == pytest.approx(grey, abs=3)
    assert drop(curves[1]) == pytest.approx(white, abs=3)


def test_an_artery_that_fills_half_a_voxel_drops_by_69_to_92_per_cent() -> None:
    rows = []
    for voxel in range(40):
        rows += [GM | {"voxel": voxel, "fraction": 0.5}, ARTERY | {"voxel": voxel, "fraction": 0.5}]
    drops = []
    for seed in range(6):
        for kappa in (3.0, 10.0):
            acquisition = changed(seed=seed, arterial_kappa=kappa)
            drops += [drop(curve) for curve in perfused_signal(subject_of(*rows), acquisition)[::8, 0, 0]]
    assert min(drops) > 69 - 5  # a saturated artery leaves just the tissue's half
    assert max(drops) < 92 + 5  # a complex sum can nearly cancel
    assert np.median(drops) == pytest.approx(80, abs=12)
    assert max(drops) - min(drops) > 15  # linear, complex and saturated arteries differ


def test_no_agent_no_change() -> None:
    leaky = GM | {"ktrans": 0.2}
    curves = perfused_signal(subject_of(GM, leaky, ARTERY), changed(dose=0.0, n_dummies=40))[:, 0, 0]
    np.testing.assert_allclose(curves, np.repeat(curves[:, :1], 60, axis=1), rtol=1e-6)


def test_no_echo_time_leaves_the_t1_effect_alone() -> None:
    """At TE = 0 agent can only brighten; without water exchange (κ = 0) nothing changes at all."""
    bright = perfused_signal(subject_of(GM), changed(echo_time=0.0, kappa_ex=0.5))[0, 0, 0]
    assert bright.min() >= bright[STEADY] * 0.9999
    assert bright.max() > 1.02 * bright[STEADY]
    still = perfused_signal(subject_of(GM), changed(echo_time=0.0, kappa_ex=0.0, n_dummies=60))[0, 0, 0]
    np.testing.assert_allclose(still, still[0], rtol=1e-6)


def test_doubling_cbv_doubles_delta_r2star() -> None:
    curves = perfused_signal(
        subject_of(GM | {"cbv": 2.0}, GM | {"cbv": 4.0}), changed(kappa_ex=0.0, n_dummies=60)
    )[:, 0, 0]
    rates = -np.log(curves / curves[:, :1])
    np.testing.assert_allclose(rates[1], 2 * rates[0], atol=2e-5)
    assert rates[1].max() > 0.3


def test_relative_cbv_from_the_noise_free_series_is_exact() -> None:
    """Integral of ΔR2* over the whole first passage, relative to white matter, is the ratio of CBV."""
    bolus = ArterialParameters(arrival=15.0, recirculation_fraction=0.0, tail=0.0)
    tissues = [WM, GM, WM | {"cbv": 8.0, "mtt": 9.0}]
    acquisition = changed(
        kappa_ex=0.0, n_dummies=60, n_times=200, repetition_time=1.0, arterial=bolus.model_dump()
    )
    curves = perfused_signal(subject_of(*tissues), acquisition)[:, 0, 0]
    integral = -np.log(curves / curves[:, :1]).sum(axis=1)
    np.testing.assert_allclose(integral / integral[0], [1.0, 2.0, 4.0], rtol=5e-4)


def test_full_exchange_hides_blood_volume() -> None:
    """κ = 1 is wrong for an intact barrier: it takes most of the white matter's integral away."""

    def integral(kappa: float) -> float:
        curve = perfused_signal(subject_of(at_field(WM, 3.0)), changed(kappa_ex=kappa, flip_angle=80.0))[
            0, 0, 0
        ]
        return float(-np.log(curve[STEADY:] / curve[STEADY]).sum())

    assert integral(1.0) < 0.4 * integral(0.0)


def test_leakage_goes_both_ways() -> None:
    tissue = GM | {"ktrans": 0.2, "ve": 0.3}
    above = perfused_signal(subject_of(tissue), changed(flip_angle=80.0, r2e=3.0, echo_time=0.02))[0, 0, 0]
    below = perfused_signal(subject_of(tissue), changed(flip_angle=30.0, r2e=40.0))[0, 0, 0]
    assert above[-1] > 1.05 * above[STEADY]
    assert below[-1] < 0.9 * below[STEADY]


def test_preload_shortens_t1_before_the_bolus_and_tames_the_t1_effect() -> None:
    tissue = GM | {"ktrans": 0.2, "ve": 0.3}
    protocol = changed(flip_angle=80.0, r2e=3.0, echo_time=0.02)
    without = perfused_signal(subject_of(tissue), protocol)[0, 0, 0]
    after = perfused_signal(subject_of(tissue), changed(protocol, preload_plasma=0.5))[0, 0, 0]
    assert after[STEADY] > 1.1 * without[STEADY]
    assert after[-1] / after[STEADY] < without[-1] / without[STEADY]


def test_volumes_without_dummies_begin_bright() -> None:
    first = perfused_signal(subject_of(GM), changed(n_dummies=0))[0, 0, 0]
    assert 1.15 < first[0] / first[STEADY] < 1.9
    dummies = perfused_signal(subject_of(GM), changed(n_dummies=5))[0, 0, 0]
    assert dummies[0] / dummies[STEADY] == pytest.approx(1.0, abs=0.02)


def test_spin_echo_drops_less_than_gradient_echo() -> None:
    gradient = drop(perfused_signal(subject_of(GM), changed(echo_time=0.08))[0, 0, 0])
    spin = drop(perfused_signal(subject_of(GM), changed(echo_time=0.08, sequence="spin-echo"))[0, 0, 0])
    assert 0.2 * gradient < spin < 0.7 * gradient


def test_half_the_dose_is_half_the_tissue_concentration() -> None:
    whole, half = (
        -np.log(perfused_signal(subject_of(GM), changed(dose=dose, kappa_ex=0.0, n_dummies=60))[0, 0, 0])
        for dose in (1.0, 0.5)
    )
    np.testing.assert_allclose(half - half[0], (whole - whole[0]) / 2, atol=1e-5)


def test_partial_volume_is_the_sum_of_compartments() -> None:
    alone = perfused_signal(subject_of(GM, WM), QUIET)[:, 0, 0]
    mixed = perfused_signal(
        subject_of(GM | {"voxel": 0, "fraction": 0.3}, WM | {"voxel": 0, "fraction": 0.7}), QUIET
    )[0, 0, 0]
    np.testing.assert_allclose(mixed, 0.3 * alone[0] + 0.7 * alone[1], rtol=1e-5)


def test_order_of_rows_does_not_matter() -> None:
    rows = [GM | {"voxel": n % 7, "cbv": 1.0 + n, "fraction": 0.2} for n in range(30)]
    one = perfused_signal(subject_of(*rows), QUIET)
    other = perfused_signal(subject_of(*rows[::-1]), QUIET)
    np.testing.assert_allclose(one, other, rtol=1e-5)


# --- Injection and timing -------------------------------------------------------------------------------


def test_default_bolus_peaks_at_eight_millimolar() -> None:
    curve = arterial_concentration(np.arange(0, 100, 0.1), ArterialParameters())
    assert curve.max() == pytest.approx(8.0, abs=0.5)


def test_dispersion_spreads_the_bolus_of_the_tissue_and_not_of_the_artery() -> None:
    spread = ArterialParameters(dispersion_kind="gamma", dispersion_time=3.0)
    subject = subject_of(GM, ARTERY)
    sharp, blurred = (
        perfused_signal(subject, changed(arterial=bolus.model_dump()))[:, 0, 0]
        for bolus in (ArterialParameters(), spread)
    )
    np.testing.assert_array_equal(blurred[1], sharp[1])
    assert drop(blurred[0]) < drop(sharp[0])
    assert blurred[0].argmin() > sharp[0].argmin()


def test_interleaved_slices_come_even_first() -> None:
    acquisition = changed(slice_order="interleaved", repetition_time=2.0)
    offsets = slice_offsets(4, acquisition)
    np.testing.assert_allclose(offsets, [0.0, 1.0, 0.5, 1.5])
    two_at_once = slice_offsets(4, changed(acquisition, multiband=2))
    np.testing.assert_allclose(two_at_once, [0.0, 1.0, 0.0, 1.0])


def test_a_later_slice_sees_the_bolus_further_on() -> None:
    acquisition = changed(repetition_time=2.0)
    plain = perfused_signal(subject_of(GM), acquisition)[0, 0, 0]
    earlier = perfused_signal(subject_of(GM | {"delay": -1.0}), acquisition)[0, 0, 0]
    flat = subject_of(GM, GM)
    maps = (m.reshape(1, 1, 2) for m in (flat.labels, flat.brain_mask, flat.nawm))
    stack = Subject((1, 1, 2), flat.affine, flat.rows, *maps)
    both = perfused_signal(stack, changed(acquisition, slice_order="sequential"))[0, 0]
    np.testing.assert_allclose(both[0], plain, rtol=1e-5)
    np.testing.assert_allclose(both[1], earlier, rtol=1e-5)


# --- Artefacts ------------------------------------------------------------------------------------------


def square(n: int = 24) -> Subject:
    """A square of white matter in an empty slice."""
    inner = range(6, n - 6)
    rows = [WM | {"voxel": x * n + y} for x in inner for y in inner]
    flat = subject_of(*rows, n_voxels=n * n)
    maps = (flat.labels, flat.brain_mask, flat.nawm)
    return Subject((n, n, 1), flat.affine, flat.rows, *(m.reshape(n, n, 1) for m in maps))


def with_artefacts(**values: object) -> AcquisitionParameters:
    return changed(n_times=30, artefacts=ArtefactParameters(**values).model_dump())


def test_scale_is_the_stored_baseline_of_white_matter() -> None:
    series = acquire(square(), with_artefacts(scale=777.0))
    assert float(series[8:16, 8:16, 0, 2].mean()) == pytest.approx(777.0, rel=1e-4)


def test_snr_is_baseline_over_noise() -> None:
    series = acquire(square(), changed(with_artefacts(snr=50.0, scale=1000.0), dose=0.0))
    assert float(series[8:16, 8:16, 0, 2:].std()) == pytest.approx(20.0, rel=0.08)
    assert float(series[:5, :5].mean()) == pytest.approx(20.0 * np.sqrt(np.pi / 2), rel=0.1)


def test_whole_numbers_within_int16() -> None:
    series = acquire(square(), with_artefacts(int16=True, snr=30.0, scale=30000.0))
    np.testing.assert_array_equal(series, np.rint(series))
    assert series.min() >= 0
    assert series.max() <= 32767


def test_ghost_lies_half_a_field_of_view_away() -> None:
    clean, ghosted = (acquire(square(), with_artefacts(ghost=ghost)) for ghost in (0.0, 0.05))
    np.testing.assert_allclose(ghosted[:, 0, 0], clean[:, 0, 0] + 0.05 * clean[:, 12, 0], rtol=1e-5)


def test_spike_and_dropped_volume() -> None:
    clean = acquire(square(), with_artefacts())
    spiked = acquire(square(), with_artefacts(spikes=((0.5, 0.2),)))
    np.testing.assert_allclose(spiked[10, 10, 0, 14] / clean[10, 10, 0, 14], 1.2, rtol=1e-5)
    dropped = acquire(square(), with_artefacts(dropped=0.5))
    np.testing.assert_array_equal(dropped[..., 14], dropped[..., 13])
    np.testing.assert_array_equal(np.delete(dropped, 14, axis=3), np.delete(clean, 14, axis=3))


def test_drift_and_pulsation_have_their_amplitudes() -> None:
    steady = changed(dose=0.0, n_dummies=40)
    drifting = acquire(
        square(), changed(steady, artefacts=ArtefactParameters(drift=(0.02, 0.01)).model_dump())
    )
    course = drifting[10, 10, 0] / drifting[10, 10, 0, 0]
    assert course[-1] == pytest.approx(1.03, abs=1e-3)
    settings = ArtefactParameters(physiology=(0.015, 0.0)).model_dump()
    pulsing = acquire(square(), changed(steady, artefacts=settings))
    inside = pulsing[8:16, 8:16]
    swing = np.abs(inside / inside.mean(axis=3, keepdims=True) - 1)
    assert 0.0005 < swing.max() < 0.03


def test_motion_displaces_and_an_immobile_head_does_not() -> None:
    still = acquire(square(), changed(motion=MotionParameters().model_dump()))
    jump = MotionParameters(jumps=((0.5, 3.0),))
    moved = acquire(square(), changed(motion=jump.model_dump()))
    np.testing.assert_array_equal(moved[..., :29], still[..., :29])
    assert np.abs(moved[..., 40] - still[..., 40]).max() > 0.2 * still[..., 40].max()


def test_registration_leaves_a_share_around_the_first_images() -> None:
    moving = MotionParameters(walk=0.2, jumps=((0.5, 3.0),))
    pose = poses(moving, n_times=40, seed=3)
    left = poses(moving.model_copy(update={"left": 0.1}), n_times=40, seed=3)
    reference = pose[:8].mean(axis=0)
    np.testing.assert_allclose(left - reference, 0.1 * (pose - reference), atol=1e-12)
    settled = poses(moving.model_copy(update={"left": 0.0}), n_times=40, seed=3)
    assert not np.diff(settled, axis=0).any()
    assert settled[0].any()  # at rest, but not where the truth is


def test_motion_of_whole_voxels_is_a_shift() -> None:
    image = np.random.default_rng(0).random((16, 16, 4, 2), dtype=np.float32)
    pose = np.zeros((2, 6))
    pose[1, 0] = 2 * 1.8
    moved = move(image, np.diag([1.8, 1.8, 5.0, 1.0]), pose)
    np.testing.assert_allclose(moved[2:, ..., 1], image[:-2, ..., 1], atol=1e-5)
    np.testing.assert_array_equal(moved[..., 0], image[..., 0])


def test_sparse_slices_are_not_mixed() -> None:
    image = np.zeros((16, 16, 3, 2), dtype=np.float32)
    image[:, :, 1] = 1.0
    pose = np.zeros((2, 6))
    pose[1] = [0.0, 0.0, 3.0, 4.0, 0.0, 0.0]
    np.testing.assert_array_equal(move(image, np.diag([1.8, 1.8, 15.0, 1.0]), pose), image)
    mixed = move(image, np.diag([1.8, 1.8, 5.0, 1.0]), pose)
    assert 0.2 < float(mixed[8, 8, 1, 1]) < 0.6


def test_walk_has_its_step_and_rotations_are_rotations() -> None:
    pose = poses(MotionParameters(walk=0.2), n_times=4000, seed=3)
    assert float(np.diff(pose, axis=0).std()) == pytest.approx(0.2, rel=0.03)
    assert not pose[0].any()
    matrix = rotation_matrix(np.array([3.0, -2.0, 5.0]))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)


# --- Drawing --------------------------------------------------------------------------------------------


def test_record_survives_json_and_replays_bit_for_bit() -> None:
    record = draw_acquisition(np.random.default_rng(5))
    again = AcquisitionParameters.model_validate_json(record.model_dump_json())
    assert again == record
    np.testing.assert_array_equal(acquire(square(), again), acquire(square(), record))


def test_fixing_one_number_leaves_the_others() -> None:
    free = draw_acquisition(np.random.default_rng(8))
    fixed = draw_acquisition(np.random.default_rng(8), fixed={"artefacts.snr": 33.0})
    assert fixed.artefacts.snr == 33.0
    assert fixed.model_copy(update={"artefacts": free.artefacts}) == free
    assert fixed.artefacts.model_copy(update={"snr": free.artefacts.snr}) == free.artefacts


def test_draws_stay_inside_the_priors_and_outside_the_held_out_ranges() -> None:
    seen_agents, seen_generators = set(), set()
    for seed in range(400):
        record = draw_acquisition(np.random.default_rng(seed))
        for name in ("echo_time", "kappa_ex"):
            hole = HELD_OUT[name]
            assert not hole.low <= getattr(record, name) <= hole.high
        assert not 65 <= record.flip_angle <= 72
        assert not 24 <= record.artefacts.snr <= 30
        assert record.residue_family != "lorentzian"
        assert held_out_numbers(record) == []
        assert 30 <= record.n_times <= 130
        bolus = record.arterial
        fine = np.arange(0, record.n_times * record.time_step, 0.1)
        curve = arterial_concentration(fine, bolus)
        peak = ACQUISITION["peak"]
        assert peak.low - 0.1 <= curve.max() <= peak.high + 0.1
        assert fine[-1] - 0.1 * curve.argmax() >= 20
        assert curve[fine < 4 * record.time_step].max() < 0.03 * curve.max()
        seen_agents.add(record.agent)
        seen_generators.add(bolus.generator)
    assert len(seen_agents) == 6
    assert seen_generators == {"gamma-variate", "parker", "cardiac-output"}


def test_unknown_name_and_impossible_times_are_refused() -> None:
    with pytest.raises(ConfigError, match="no acquisition parameter is called flipangle"):
        draw_acquisition(np.random.default_rng(0), fixed={"flipangle": 60.0})
    with pytest.raises(ConfigError, match="leave no room for a bolus"):
        draw_acquisition(np.random.default_rng(0), fixed={"n_times": 20, "repetition_time": 1.0})
    with pytest.raises(ConfigError, match=r"field_strength is 7.0 T"):
        AcquisitionParameters(field_strength=7.0)


def test_moving_a_head_leaves_nothing_for_the_garbage_collector() -> None:
    """Arrays kept in cycles pile up between two collections: hundreds of MB over some hundred subjects."""
    signal = np.ones((16, 16, 4, 3), dtype=np.float32)
    pose = np.full((3, 6), 0.5)
    gc.collect()
    gc.disable()
    try:
        move(signal, np.diag([2.0, 2.0, 5.0, 1.0]), pose)
        assert gc.collect() == 0
    finally:
        gc.enable()
