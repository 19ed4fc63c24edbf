"""The time axis of a series, from options, NIfTI header and sidecar.

Two numbers that differ in some sequences (multi-shot, PRESTO, dual echo):

- ``time_step``, the interval between two volumes: the option; else ``pixdim[4]`` where its unit is s, ms or
  µs; else the sidecar's ``RepetitionTime``. A ``pixdim[4]`` of unknown unit counts only between 0.3 and
  10 s and when it is not 1 (many programs write 1 for "no idea"), and never without a warning.
- ``repetition_time``, the time between two excitations of a slice: the option; else the sidecar's
  ``RepetitionTimeExcitation``; else its ``RepetitionTime``; else the time step. A value in the sidecar that
  cannot be one is passed over with a warning.

The echo time is the option, else the sidecar's ``EchoTime``, else unknown. BIDS wants seconds. An
``EchoTime`` above 1 can only be milliseconds and is converted with a warning, because relative maps do not
depend on it; the option is refused in that case, because a typing error is mended at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perfmap.errors import InputError

SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
TRUSTED_RANGE = (0.3, 10.0)  # s, for a pixdim[4] whose unit is unknown
SHORTEST = 0.05  # s, anything below is no interval between volumes
LONGEST = 60.0  # s, anything above is milliseconds taken for seconds
TOLERANCE = 0.01  # relative difference of header and sidecar


@dataclass(frozen=True)
class Timing:
    """Times of a series in seconds, and one sentence for each doubtful decision.

    Attributes
    ----------
    time_step, repetition_time : float
        Interval between volumes and between excitations, s.
    echo_time : float or None
        Echo time, s.
    notes : tuple of str
        What was decided although it is not certain.
    """

    time_step: float
    repetition_time: float
    echo_time: float | None
    notes: tuple[str, ...]


def resolve_timing(
    sidecar: Mapping[str, Any],
    *,
    header_step: float,
    header_unit: str,
    time_step: float | None = None,
    repetition_time: float | None = None,
    echo_time: float | None = None,
) -> Timing:
    """Decide on the three times of a series.

    Parameters
    ----------
    sidecar : mapping
        BIDS sidecar of the series; empty where there is none.
    header_step : float
        ``pixdim[4]`` as stored, in `header_unit`.
    header_unit : str
        nibabel's name of the time unit (``"sec"``, ``"msec"``, ``"usec"``, ``"unknown"``, …).
    time_step, repetition_time, echo_time : float, optional
        Given by the user, s; each wins over everything else.

    Raises
    ------
    InputError
        If a time cannot be known, is not positive, or header and sidecar contradict each other.
    """
    step, notes = _time_step(sidecar, header_step=header_step, header_unit=header_unit, option=time_step)
    echo, echo_notes = _echo_time(sidecar, option=echo_time)
    excitation, excitation_notes = _repetition_time(sidecar, option=repetition_time, time_step=step)
    return Timing(step, excitation, echo, (*notes, *excitation_notes, *echo_notes))


def _time_step(
    sidecar: Mapping[str, Any], *, header_step: float, header_unit: str, option: float | None
) -> tuple[float, tuple[str, ...]]:
    known = header_unit in SECONDS_PER_UNIT
    if option is not None:
        step = _plausible(option, "--time-step", mend="give the interval between two volumes")
        said = {"the sidecar's RepetitionTime": sidecar.get("RepetitionTime")}
        said |= {"the header's pixdim[4]": header_step * SECONDS_PER_UNIT[header_unit]} if known else {}
        return step, _against(step, said)
    from_header: float | None = None
    if known:
        from_header = header_step * SECONDS_PER_UNIT[header_unit]
    elif header_unit == "unknown" and _within_trusted(header_step):
        from_header = header_step
    from_sidecar = _number(sidecar, "RepetitionTime", option="--time-step")
    seen = f"header pixdim[4] = {header_step:g} ({header_unit}), sidecar RepetitionTime = " + (
        "none" if from_sidecar is None else f"{from_sidecar:g} s"
    )
    mend = f"({seen}); give it with --time-step"
    if from_header is None and from_sidecar is None:
        raise InputError(f"time step is unknown {mend}")
    for value in (from_header, from_sidecar):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"time step is {value:g} s, wanted a positive number {mend}")
        if value is not None and value < SHORTEST:
            raise InputError(f"time step of {value:g} s is not one of a DSC series {mend}")
        if value is not None and value > LONGEST:
            raise InputError(f"time step of {value:g} s is not one of a DSC series, milliseconds? {mend}")
    if from_header is None:
        assert from_sidecar is not None
        return from_sidecar, ()
    if from_sidecar is not None and abs(from_header - from_sidecar) > TOLERANCE * max(
        from_header, from_sidecar
    ):
        raise InputError(f"time step differs between header and sidecar {mend}")
    if known:
        return from_header, ()
    note = f"pixdim[4] = {header_step:g} has no unit and is taken as seconds; check it or give --time-step"
    return from_header, (note,)


def _against(step: float, said: Mapping[str, Any]) -> tuple[str, ...]:
    """One sentence where a time step given by hand is that of none of those who say one."""
    values = {
        who: float(value)
        for who, value in said.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and SHORTEST <= value <= LONGEST
    }
    if not values or any(abs(value - step) <= TOLERANCE * max(value, step) for value in values.values()):
        return ()
    others = " and ".join(f"{value:g} s by {who}" for who, value in values.items())
    return (f"the time step is {step:g} s as given, {others}; check which is right",)


def _repetition_time(
    sidecar: Mapping[str, Any], *, option: float | None, time_step: float
) -> tuple[float, tuple[str, ...]]:
    if option is not None:
        return _plausible(option, "--repetition-time", mend="give the time between two excitations"), ()
    notes: list[str] = []
    for key in ("RepetitionTimeExcitation", "RepetitionTime"):
        value = _number(sidecar, key, option="--repetition-time")
        if value is not None and 0 < value <= LONGEST:
            return value, tuple(notes)
        if value is not None:
            notes.append(f"sidecar {key} is {value:g} s and is passed over; give --repetition-time")
    return time_step, tuple(notes)


def _echo_time(sidecar: Mapping[str, Any], *, option: float | None) -> tuple[float | None, tuple[str, ...]]:
    if option is not None:
        if not 0 < option <= 1:
            raise InputError(f"--echo-time is {option:g}, wanted seconds between 0 and 1, such as 0.03")
        return option, ()
    value = _number(sidecar, "EchoTime", option="--echo-time")
    if value is None:
        return None, ()
    if not (math.isfinite(value) and value > 0):
        return None, (f"sidecar EchoTime is {value:g} and is taken as unknown; give it with --echo-time",)
    if value > 1:
        return value / 1000, (
            f"sidecar EchoTime is {value:g}, which can only be milliseconds: {value / 1000:g} s",
        )
    return value, ()


def _within_trusted(step: float) -> bool:
    low, high = TRUSTED_RANGE
    return low <= step <= high and not math.isclose(step, 1.0, rel_tol=1e-6)


def _plausible(value: float, name: str, *, mend: str) -> float:
    lowest = SHORTEST if name == "--time-step" else 0.0
    if not (math.isfinite(value) and max(lowest, 1e-6) <= value <= LONGEST):
        raise InputError(
            f"{name} is {value:g}, wanted seconds above {lowest:g} and up to {LONGEST:g}; {mend}"
        )
    return value


def _number(sidecar: Mapping[str, Any], key: str, *, option: str) -> float | None:
    value = sidecar.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"sidecar {key} is {value!r}, wanted a number of seconds; give it with {option}")
    try:
        return float(value)
    except OverflowError:  # JSON's whole numbers have no limit
        return math.inf if value > 0 else -math.inf
