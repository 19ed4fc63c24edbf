"""The time axis of a DICOM series: measured between its volumes, and only then compared with RepetitionTime.

RepetitionTime is the interval between two volumes in a single-shot sequence alone; in others, and in headers that
were touched, it is something else. What counts is the time between volumes on the scanner's clocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.io.dicom_order import Order, witness_times

ACQUISITION_CLOCKS = ("AcquisitionTime", "TriggerTime")
EVEN = 0.2
"""Part of the step by which a single interval may differ from it."""
AGREE = 0.02
"""Part by which two measures of the step may differ and still agree; clocks are coarse."""


@dataclass(frozen=True)
class TimeAxis:
    """Times of a series in s.

    Attributes
    ----------
    time_step, repetition_time : float
    verified : bool
        Whether a clock of the acquisition confirms the step.
    notes : tuple of str
    """

    time_step: float
    repetition_time: float
    verified: bool
    notes: tuple[str, ...]


def measure_time_axis(order: Order, header: Mapping[str, Any], *, time_step: float | None = None) -> TimeAxis:
    """Decide on the step between volumes.

    Parameters
    ----------
    order : Order
    header : mapping
        ``RepetitionTime`` and ``TemporalResolution`` in ms, ``NumberOfTemporalPositions``; None where missing.
    time_step : float, optional
        Given by the user, s; wins.

    Raises
    ------
    InputError
        If a volume is missing, intervals are uneven, or the clock and RepetitionTime contradict each other with
        nothing to decide between them.
    """
    _refuse_gaps(order)
    repetition = _milliseconds(header.get("RepetitionTime"))
    steps = _steps(order)
    resolution = _milliseconds(header.get("TemporalResolution"))
    if resolution is not None:
        steps["TemporalResolution"] = resolution
    told = ", ".join(f"{name} {value:.4g} s" for name, value in steps.items())
    if time_step is not None:
        measured = next(iter(steps.values()), None)
        off = measured is not None and not _agree(measured, time_step)
        notes = (f"the time step given is {time_step:g} s, but the headers say {told}",) if off else ()
        return TimeAxis(time_step, repetition or time_step, measured is not None and not off, notes)
    clocks = {name: value for name, value in steps.items() if name != "ContentTime"}
    if not clocks:
        return _unverifiable(steps, repetition)
    name, measured = next(iter(clocks.items()))
    if repetition is None:
        return TimeAxis(measured, measured, True, (f"no RepetitionTime; the step is that of {name}",))
    if _agree(measured, repetition):
        return TimeAxis(repetition, repetition, True, ())
    for_it = [other for other, value in steps.items() if _agree(value, measured)]
    if len(for_it) < 2:
        raise InputError(
            f"the time axis is contradictory: RepetitionTime {repetition:.4g} s, but {told} between volumes; "
            "give the interval between volumes with --time-step"
        )
    return TimeAxis(
        round(measured, 6),
        repetition,
        True,
        (
            f"RepetitionTime is {repetition:.4g} s but volumes are {measured:.4g} s apart by {' and '.join(for_it)}; "
            "the latter is the time step",
        ),
    )


def _unverifiable(steps: Mapping[str, float], repetition: float | None) -> TimeAxis:
    content = steps.get("ContentTime")
    if repetition is None:
        raise InputError(
            "the time axis cannot be known: neither acquisition times nor RepetitionTime are in the headers; "
            "give the interval between volumes with --time-step"
        )
    if content is not None:
        if _agree(content, repetition):
            return TimeAxis(repetition, repetition, True, ())
        raise InputError(
            f"the time axis is contradictory: RepetitionTime {repetition:.4g} s, but ContentTime {content:.4g} s "
            "between volumes; give the interval between volumes with --time-step"
        )
    note = (
        f"time axis not verifiable: the headers hold no times of the volumes; RepetitionTime {repetition:.4g} s is "
        "taken for the time step"
    )
    return TimeAxis(repetition, repetition, False, (note,))


def _steps(order: Order) -> dict[str, float]:
    """Mean interval of each clock that runs in the order of the volumes."""
    steps = {}
    for name in (*ACQUISITION_CLOCKS, "ContentTime"):
        times = _volume_times(order, name)
        if times is None or times.size < 2 or not (np.diff(times) > 0).all():
            continue
        intervals = np.diff(times)
        step = float(np.median(intervals))
        worst = int(np.argmax(np.abs(intervals - step)))
        if abs(intervals[worst] - step) > EVEN * step:
            if name == "ContentTime":
                continue  # when an image was written says little; only an even ContentTime is evidence
            _refuse_uneven(name, intervals, step, worst)
        steps[name] = float(times[-1] - times[0]) / (times.size - 1)
    return steps


def _refuse_uneven(name: str, intervals: NDArray[np.float64], step: float, worst: int) -> None:
    ratio = intervals[worst] / step
    where = f"between volumes {worst + 1} and {worst + 2} lie {intervals[worst]:.4g} s, elsewhere {step:.4g} s ({name})"
    if ratio > 1.5 and abs(ratio - round(ratio)) < EVEN:
        raise InputError(f"{round(ratio) - 1} volume(s) missing: {where}; export the series again, whole")
    raise InputError(f"the volumes are not evenly spaced in time: {where}; give one continuous acquisition")


def _refuse_gaps(order: Order) -> None:
    """Numbers that run on with a hole in them: a volume is missing, whether or not there are clocks."""
    for name in ("TemporalPositionIdentifier", "AcquisitionNumber"):
        if name not in order.witnesses:
            continue
        numbers = _volume_times(order, name)
        if numbers is None or numbers.size < 2:
            continue
        steps = np.diff(numbers)
        usual = float(np.median(steps))
        if (steps > usual).any() and usual > 0:
            where = int(np.argmax(steps))
            raise InputError(
                f"volume(s) missing: {name} goes from {numbers[where]:g} to {numbers[where + 1]:g}; "
                "export the series again, whole"
            )
    if set(order.witnesses) == {"InstanceNumber"}:
        first = witness_times([volume[0] for volume in order.grid], "InstanceNumber")
        steps = np.diff(first) if first is not None else np.ones(1)
        usual = float(np.median(steps))
        if (np.abs(steps - usual) > 0.5 * usual).any():
            where = int(np.argmax(np.abs(steps - usual)))
            raise InputError(
                f"volume(s) missing: InstanceNumber jumps behind volume {where + 1}; export the series again, whole"
            )


def _volume_times(order: Order, name: str) -> NDArray[np.float64] | None:
    """Earliest value of a witness in each volume. Shape (t,)."""
    n_slices = len(order.grid[0])
    flat = witness_times([frame for volume in order.grid for frame in volume], name)
    return None if flat is None else flat.reshape(-1, n_slices).min(axis=1)


def _agree(one: float, other: float) -> bool:
    return abs(one - other) <= max(AGREE * other, 0.005)


def _milliseconds(value: float | None) -> float | None:
    return None if value is None or value <= 0 else value / 1000.0
