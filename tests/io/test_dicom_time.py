from __future__ import annotations

from dataclasses import replace

import pytest

from perfmap.errors import InputError
from perfmap.io.dicom_frames import Frame
from perfmap.io.dicom_stack import arrange, stacks_of
from perfmap.io.dicom_time import TimeAxis, measure_time_axis
from tests.dicom_records import series, silent

CLOCKS = ("acquisition_time", "content_time")


def axis(frames: list[Frame], *, time_step: float | None = None, **header: float | None) -> TimeAxis:
    order = arrange(stacks_of(frames)[0]).order
    return measure_time_axis(order, {"RepetitionTime": 1500.0, **header}, time_step=time_step)


def triggered(step: float) -> list[Frame]:
    """GE: one clock, TriggerTime."""
    return [
        replace(
            one,
            acquisition_time=1.0,
            content_time=1.0,
            trigger_time=((one.temporal_position or 0) - 1) * step,
        )
        for one in series()
    ]


def test_clock_that_agrees_with_the_repetition_time_confirms_it() -> None:
    found = axis(series(time_step=1.502))
    assert found == TimeAxis(1.5, 1.5, True, ())


def test_two_clocks_overrule_the_repetition_time() -> None:
    found = axis(series(), RepetitionTime=750.0)
    assert found.time_step == pytest.approx(1.5)
    assert found.repetition_time == 0.75
    assert "RepetitionTime is 0.75 s but volumes are 1.5 s apart" in found.notes[0]


def test_one_clock_against_the_repetition_time_is_refused_with_both() -> None:
    with pytest.raises(
        InputError, match=r"contradictory: RepetitionTime 1\.5 s, but TriggerTime 2 s.*--time-step"
    ):
        axis(triggered(2.0))
    assert axis(triggered(1.5)).verified


def test_temporal_resolution_is_a_second_witness() -> None:
    assert axis(triggered(2.0), TemporalResolution=2000.0).time_step == pytest.approx(2.0)


def test_time_step_given_settles_the_contradiction() -> None:
    found = axis(triggered(2.0), time_step=2.0)
    assert (found.time_step, found.repetition_time, found.notes) == (2.0, 1.5, ())
    assert "but the headers say TriggerTime 2 s" in axis(triggered(2.0), time_step=1.0).notes[0]


def test_series_without_times_is_taken_with_a_warning() -> None:
    found = axis(silent(series(), *CLOCKS))
    assert not found.verified
    assert found.time_step == 1.5
    assert "not verifiable" in found.notes[0]


def test_series_without_any_time_is_refused() -> None:
    with pytest.raises(InputError, match="time axis cannot be known"):
        axis(silent(series(), *CLOCKS), RepetitionTime=None)


def test_content_time_alone_may_confirm_but_not_overrule() -> None:
    only_content = silent(series(), "acquisition_time")
    assert axis(only_content).verified
    with pytest.raises(InputError, match="ContentTime"):
        axis(only_content, RepetitionTime=3000.0)


@pytest.mark.parametrize("told_by", ["clocks", "temporal_position", "acquisition_number", "instance_number"])
def test_missing_volume_is_noticed_by_whatever_tells(told_by: str) -> None:
    frames = [one for one in series() if not one.sop_uid.startswith("1.7.")]
    names = {*CLOCKS, "temporal_position", "acquisition_number", "instance_number"}
    kept = set(CLOCKS) if told_by == "clocks" else {told_by}
    with pytest.raises(InputError, match="missing"):
        axis(silent(frames, *(names - kept)))


def test_pause_in_the_acquisition_is_refused() -> None:
    late = [
        replace(one, acquisition_time=(one.acquisition_time or 0) + 0.6 * ((one.temporal_position or 0) > 12))
        for one in series()
    ]
    with pytest.raises(InputError, match=r"between volumes 12 and 13 lie 2\.1 s, elsewhere 1\.5 s"):
        axis(late)


def test_uneven_content_time_is_no_evidence() -> None:
    uneven = [
        replace(one, content_time=36_000.0 + 0.1 * (one.temporal_position or 0) ** 2) for one in series()
    ]
    assert axis(uneven).time_step == 1.5
