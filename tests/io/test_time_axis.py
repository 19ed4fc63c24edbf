"""Every rule by which the times of a series are decided, and every way in which they are refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmap.errors import InputError
from perfmap.io.time_axis import Timing, resolve_timing


def resolve(
    sidecar: dict[str, Any] | None = None, step: float = 0.0, unit: str = "sec", **options: float
) -> Timing:
    return resolve_timing(sidecar or {}, header_step=step, header_unit=unit, **options)


@pytest.mark.parametrize(("step", "unit"), [(1.5, "sec"), (1500.0, "msec"), (1.5e6, "usec")])
def test_units_of_the_header_are_turned_to_seconds(step: float, unit: str) -> None:
    timing = resolve(step=step, unit=unit)
    assert math.isclose(timing.time_step, 1.5)
    assert timing.notes == ()


@pytest.mark.parametrize("step", [0.3, 0.9, 1.01, 1.5, 10.0])
def test_header_without_unit_counts_in_the_usual_range_with_a_note(step: float) -> None:
    timing = resolve(step=step, unit="unknown")
    assert timing.time_step == step
    assert "no unit" in timing.notes[0]


@pytest.mark.parametrize("step", [0.0, -1.5, 0.29, 1.0, 10.01, 1500.0, math.nan])
def test_header_without_unit_does_not_count_outside_of_it(step: float) -> None:
    assert resolve({"RepetitionTime": 1.7}, step, "unknown").time_step == 1.7
    with pytest.raises(InputError, match=r"unknown .*pixdim\[4\].*RepetitionTime = none.*--time-step"):
        resolve(step=step, unit="unknown")


@pytest.mark.parametrize("unit", ["hz", "ppm", "rads"])
def test_axis_that_is_no_time_does_not_count(unit: str) -> None:
    assert resolve({"RepetitionTime": 1.7}, 1.5, unit).time_step == 1.7


@pytest.mark.parametrize("unit", ["sec", "unknown"])
def test_header_and_sidecar_may_differ_by_one_per_cent(unit: str) -> None:
    assert resolve({"RepetitionTime": 1.51}, 1.5, unit).time_step == 1.5
    with pytest.raises(InputError, match=r"1\.5 .*1\.6 s.*--time-step"):
        resolve({"RepetitionTime": 1.6}, 1.5, unit)


@pytest.mark.parametrize(
    ("step", "sidecar"),
    [(0.0, {}), (-1.5, {}), (math.nan, {}), (0.0, {"RepetitionTime": 1.5}), (1.5, {"RepetitionTime": 0})],
)
def test_time_that_is_not_positive_is_refused(step: float, sidecar: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"wanted a positive number.*--time-step"):
        resolve(sidecar, step)


def test_milliseconds_labelled_seconds_are_refused() -> None:
    with pytest.raises(InputError, match="milliseconds"):
        resolve(step=1500.0)
    with pytest.raises(InputError, match="milliseconds"):
        resolve({"RepetitionTime": 1500}, unit="unknown")


@settings(derandomize=True, deadline=None, max_examples=50)
@given(option=st.floats(0.05, 60), step=st.floats(-10, 2000), sidecar=st.floats(-10, 2000))
def test_option_wins_over_everything(option: float, step: float, sidecar: float) -> None:
    timing = resolve({"RepetitionTime": sidecar}, step, time_step=option, repetition_time=2.0)
    assert (timing.time_step, timing.repetition_time) == (option, 2.0)


def test_an_option_that_nobody_else_says_is_told() -> None:
    """It settles a contradiction without a word, and wins against both with one."""
    assert resolve({"RepetitionTime": 1.5}, 3.0, time_step=3.0).notes == ()
    assert resolve({"RepetitionTime": 1.5}, 3.0, time_step=1.5).notes == ()
    assert resolve({}, 1500.0, time_step=1.5).notes == ()
    sidecar = {"RepetitionTime": True, "RepetitionTimeExcitation": 1.0}
    assert resolve(sidecar, 1500.0, time_step=3.0).notes == ()
    (note,) = resolve({"RepetitionTime": 1.5}, 1.5, time_step=3.0).notes
    assert "3 s as given" in note
    assert "1.5 s by the sidecar's RepetitionTime and 1.5 s by the header's pixdim[4]" in note


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 1500.0])
@pytest.mark.parametrize("name", ["time_step", "repetition_time", "echo_time"])
def test_option_that_cannot_be_seconds_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match="--" + name.replace("_", "-")):
        resolve(step=1.5, **{name: value})


def test_excitation_is_looked_up_apart_from_the_frame_interval() -> None:
    sidecar = {"RepetitionTime": 1.5, "RepetitionTimeExcitation": 0.05}
    assert resolve(sidecar, 1.5).repetition_time == 0.05
    assert resolve({"RepetitionTime": 1.5}, time_step=3.0).repetition_time == 1.5
    assert resolve(step=1.5).repetition_time == 1.5
    timing = resolve({"RepetitionTimeExcitation": -1, "RepetitionTime": 1500}, time_step=1.5)
    assert timing.repetition_time == 1.5
    assert all("--repetition-time" in note for note in timing.notes)
    assert len(timing.notes) == 2


def test_echo_time_is_seconds_and_milliseconds_are_noticed() -> None:
    assert resolve(step=1.5).echo_time is None
    assert resolve({"EchoTime": 0.03}, 1.5).echo_time == 0.03
    assert resolve({"EchoTime": 0.03}, 1.5, echo_time=0.04).echo_time == 0.04
    timing = resolve({"EchoTime": 30}, 1.5)
    assert timing.echo_time == 0.03
    assert "milliseconds" in timing.notes[0]
    timing = resolve({"EchoTime": 0}, 1.5)
    assert timing.echo_time is None
    assert "--echo-time" in timing.notes[0]


@pytest.mark.parametrize("value", ["1.5", True, [1.5], {}])
def test_sidecar_value_that_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"RepetitionTime is .*wanted a number.*--time-step"):
        resolve({"RepetitionTime": value})
    with pytest.raises(InputError, match=r"EchoTime is .*--echo-time"):
        resolve({"EchoTime": value}, 1.5)
