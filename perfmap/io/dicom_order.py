"""The order of volumes, from what the headers say about time: several witnesses, which may disagree.

Witnesses are grouped by the order that they give. The acquisition's own clocks weigh most, a number given at storage
least, because exports renumber. Where the heaviest order has no clear lead, nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.io.dicom_frames import Frame

DAY = 86400.0
WITNESSES: dict[str, tuple[int, Callable[[Frame], float | None]]] = {
    "AcquisitionTime": (3, lambda frame: frame.acquisition_time),
    "TriggerTime": (3, lambda frame: frame.trigger_time),
    "TemporalPositionIdentifier": (2, lambda frame: frame.temporal_position),
    "AcquisitionNumber": (1, lambda frame: frame.acquisition_number),
    "ContentTime": (1, lambda frame: frame.content_time),
    "InstanceNumber": (1, lambda frame: frame.instance_number),
}
"""Name, weight and value of each witness of time."""
CLOCKS = ("AcquisitionTime", "TriggerTime", "ContentTime")
"""Witnesses that tell seconds."""
SETTLED = 2
"""Lead in weight of the order that is taken over the next."""


@dataclass(frozen=True)
class Order:
    """Volumes in the order of time.

    Attributes
    ----------
    grid : tuple of tuple of Frame
        ``grid[volume][position]``.
    witnesses : tuple of str
        Those that give this order.
    notes : tuple of str
    alternatives : tuple of (str, tuple of int)
        Other orders of these volumes, with the witness that gives each.
    """

    grid: tuple[tuple[Frame, ...], ...]
    witnesses: tuple[str, ...]
    notes: tuple[str, ...]
    alternatives: tuple[tuple[str, tuple[int, ...]], ...] = ()


def order_volumes(columns: Sequence[Sequence[Frame]]) -> Order:
    """Sort the frames of each position by time.

    Parameters
    ----------
    columns : sequence of sequences of Frame
        For each position its frames, all of the same number, in any order.

    Raises
    ------
    InputError
        If nothing tells the volumes apart, or witnesses of about equal weight give different orders.
    """
    orders: dict[tuple[tuple[int, ...], ...], list[str]] = {}
    for name in WITNESSES:
        times = [witness_times(column, name) for column in columns]
        if all(values is not None and np.unique(values).size == values.size for values in times):
            ranks = tuple(tuple(np.argsort(values).tolist()) for values in times if values is not None)
            orders.setdefault(ranks, []).append(name)
    if not orders:
        raise InputError(
            "the order of the volumes cannot be known: no time, temporal position or instance number in the headers "
            "differs from volume to volume; export the series again with its times"
        )
    weights = {ranks: sum(WITNESSES[name][0] for name in names) for ranks, names in orders.items()}
    best, *others = sorted(weights, key=lambda ranks: -weights[ranks])
    agreed, notes = " and ".join(orders[best]), []
    if others:
        against = " and ".join(name for ranks in others for name in orders[ranks])
        if weights[best] - weights[others[0]] < SETTLED:
            raise InputError(
                f"the order of the volumes is contradictory: {agreed} and {against} differ; export the series again, "
                "or convert it and give it as NIfTI with --time-step"
            )
        notes.append(f"volumes are in the order of {agreed}; {against} would have given another")
    elif weights[best] < SETTLED:
        notes.append(f"the order of the volumes rests on {agreed} alone")
    sorted_columns = [[column[i] for i in rank] for column, rank in zip(columns, best, strict=True)]
    middle = len(columns) // 2
    place = np.argsort(best[middle])
    alternatives = tuple((orders[ranks][0], tuple(place[list(ranks[middle])].tolist())) for ranks in others)
    return Order(tuple(zip(*sorted_columns, strict=True)), tuple(orders[best]), tuple(notes), alternatives)


def witness_times(frames: Sequence[Frame], name: str) -> NDArray[np.float64] | None:
    """What one witness says of each frame, clocks carried over midnight; None where it is silent of any."""
    found = [WITNESSES[name][1](frame) for frame in frames]
    if any(value is None for value in found):
        return None
    times = np.array(found, dtype=np.float64)
    if name in CLOCKS and np.ptp(times) > DAY / 2:
        times[times < DAY / 2] += DAY
    return times


def complete_volumes(columns: Sequence[Sequence[Frame]]) -> tuple[list[list[Frame]], tuple[str, ...]]:
    """The same number of frames at each position: an aborted last volume is dropped, anything else refused.

    Returns
    -------
    columns : list of lists of Frame
    notes : tuple of str
        What was dropped.

    Raises
    ------
    InputError
        If a slice is missing in another volume than the last, or two acquisitions are mixed.
    """
    counts = [len(column) for column in columns]
    _refuse_interleaved(columns)
    if len(set(counts)) == 1:
        return [list(column) for column in columns], ()
    for name in WITNESSES:
        volumes = _volume_numbers(columns, name)
        if volumes is None:
            continue
        held: dict[int, int] = {}
        for numbers in volumes:
            for volume in numbers:
                held[volume] = held.get(volume, 0) + 1
        short = {volume: n for volume, n in held.items() if n < len(columns)}
        last = max(held)
        if set(short) <= {last}:
            kept = [
                [frame for frame, volume in zip(column, numbers, strict=True) if volume != last]
                for column, numbers in zip(columns, volumes, strict=True)
            ]
            return kept, (
                f"the last volume holds {held[last]} of {len(columns)} slices (an aborted scan, or files still to "
                "come) and was dropped",
            )
        first = min(short)
        raise InputError(
            f"slices are missing: volume {first + 1} holds {short[first]} of {len(columns)} (by {name}); "
            "export the series again, whole"
        )
    raise InputError(
        f"slices are missing: the positions hold {min(counts)} to {max(counts)} images each and nothing in the "
        "headers says which; export the series again, whole"
    )


def _refuse_interleaved(columns: Sequence[Sequence[Frame]]) -> None:
    """Every time comes twice (up to four times) at every position: two acquisitions in one series."""
    for name in ("TemporalPositionIdentifier", "AcquisitionTime", "TriggerTime"):
        repeats: set[int] = set()
        for column in columns:
            times = witness_times(column, name)
            values, n_each = (
                np.unique(times, return_counts=True) if times is not None else (np.zeros(1), np.ones(1))
            )
            repeats |= set(n_each.astype(int).tolist()) if values.size > 1 else {0}
        if len(repeats) == 1 and 2 <= (n_times := repeats.pop()) <= 4:
            raise InputError(
                f"{n_times} acquisitions are interleaved in one series: each {name} comes {n_times} times at each "
                "position; separate them and give one"
            )


def _volume_numbers(columns: Sequence[Sequence[Frame]], name: str) -> list[list[int]] | None:
    """Volume of each frame by one witness, from 0; None where it cannot tell."""
    per_column = [witness_times(column, name) for column in columns]
    times = [values for values in per_column if values is not None]
    if len(times) < len(columns) or any(np.unique(values).size < values.size for values in times):
        return None
    longest = max(times, key=lambda values: values.size)
    start = min(float(values.min()) for values in times)
    if name == "InstanceNumber":
        if max(float(values.max()) for values in times) - start + 1 > longest.size * len(columns):
            return None
        step = float(len(columns))  # numbered volume by volume, else the steps differ
        if longest.size > 1 and abs(float(np.median(np.diff(np.sort(longest)))) - step) > 0.5:
            return None
    elif name in CLOCKS:
        step = float(np.median(np.diff(np.sort(longest))))
    else:
        step = 1.0
    volumes = [np.floor((values - start) / step + 1e-3).astype(int).tolist() for values in times]
    if any(len(set(numbers)) < len(numbers) for numbers in volumes):
        return None
    return volumes
