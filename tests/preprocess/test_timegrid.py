"""The time grid: seconds, not volumes; nothing extrapolated."""

import numpy as np
import pytest

from perfmap.errors import InputError
from perfmap.models.card import InputContract
from perfmap.preprocess.timegrid import grid_offsets, map_time

INPUTS = InputContract()


def test_grid_runs_from_22_s_before_to_43_s_after_the_arrival() -> None:
    offsets = grid_offsets(INPUTS)
    assert len(offsets) == 45
    assert offsets[0] == -22.5
    assert offsets[-1] == 43.5
    assert 0.0 in offsets


def test_a_series_on_the_grid_stays_as_it_is() -> None:
    curve = np.random.default_rng(0).random(45)
    mapping = map_time(INPUTS, n_times=45, time_step=1.5, arrival=15, n_unsteady=0)
    assert np.allclose(mapping(curve), curve, atol=1e-6)
    assert mapping.valid.all()


@pytest.mark.parametrize("time_step", [1.0, 1.37, 2.0, 2.5])
@pytest.mark.parametrize("n_times", [30, 60, 120])
def test_a_straight_line_is_met_exactly_where_it_was_measured(time_step: float, n_times: int) -> None:
    arrival = n_times // 3
    line = 0.3 * (np.arange(n_times) - arrival) * time_step + 2.0
    mapping = map_time(INPUTS, n_times=n_times, time_step=time_step, arrival=arrival, n_unsteady=2)
    valid = mapping.valid > 0
    assert np.allclose(mapping(line)[valid], 0.3 * grid_offsets(INPUTS)[valid] + 2.0, atol=1e-4)


def test_before_the_first_steady_volume_is_zero_and_after_the_last_its_value() -> None:
    curve = np.linspace(1.0, 2.0, 20)
    mapping = map_time(INPUTS, n_times=20, time_step=2.0, arrival=6, n_unsteady=2)
    gridded, offsets = mapping(curve), grid_offsets(INPUTS)
    before, after = offsets < (2 - 6) * 2.0, offsets > (19 - 6) * 2.0
    assert before.any()
    assert after.any()
    assert (gridded[before] == 0).all()
    assert np.allclose(gridded[after], 2.0)
    assert np.array_equal(mapping.valid == 0, before | after)


def test_interpolation_keeps_constants() -> None:
    mapping = map_time(INPUTS, n_times=90, time_step=1.1, arrival=30, n_unsteady=0)
    assert np.allclose(mapping(np.ones(90)), 1.0, atol=1e-6)


def test_as_acquired_takes_its_own_number_of_volumes_alone() -> None:
    inputs = InputContract(time_alignment="as-acquired")
    curve = np.random.default_rng(0).random(45)
    assert np.array_equal(
        map_time(inputs, n_times=45, time_step=2, arrival=9, n_unsteady=3)(curve), curve.astype(np.float32)
    )
    with pytest.raises(InputError, match="has 60 volumes"):
        map_time(inputs, n_times=60, time_step=2, arrival=9, n_unsteady=0)
