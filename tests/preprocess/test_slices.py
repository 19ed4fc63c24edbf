"""Slices: the paper's choice, and there and back again."""

import numpy as np
import pytest

from perfmap.errors import ConfigError, InputError
from perfmap.preprocess.slices import join_slices, select_slices, slice_axis, split_slices


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 7, 3), (4, 1, 1)])
def test_split_then_join_is_the_identity(axis: int, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).random(shape)
    assert np.array_equal(join_slices(split_slices(array, axis=axis), axis=axis), array)


def test_paper_takes_seven_slices_of_a_1_mm_series() -> None:
    assert select_slices(155, "paper") == [25, 40, 55, 70, 85, 100, 115]


def test_paper_rule_needs_a_slice_115() -> None:
    assert len(select_slices(116, "paper")) == 7
    with pytest.raises(InputError, match="has 115 slices"):
        select_slices(115, "paper")


def test_rules_by_name_and_by_range() -> None:
    assert select_slices(3, "all") == [0, 1, 2]
    assert select_slices(20, "2:10:4") == [2, 6]
    assert select_slices(20, ":3") == [0, 1, 2]
    with pytest.raises(ConfigError, match="cannot be read"):
        select_slices(20, "every second")
    with pytest.raises(InputError, match="selects none"):
        select_slices(20, "30:40")


def test_slice_axis_is_the_thick_one() -> None:
    assert slice_axis(np.diag([1.8, 1.8, 5.0, 1.0])) == 2
    assert slice_axis(np.diag([5.0, 1.8, 1.8, 1.0])) == 0
    assert slice_axis(np.diag([1.0, 1.0, 1.0, 1.0])) == 2
    tilted = np.eye(4)
    tilted[:3, :3] = np.array(
        [[1, 0, 0], [0, np.cos(0.4), -np.sin(0.4)], [0, np.sin(0.4), np.cos(0.4)]]
    ) @ np.diag([2, 2, 6])
    assert slice_axis(tilted) == 2
