"""The images of a series put in order: by what they show, by position, by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perfmap.errors import InputError
from perfmap.io.dicom_frames import Frame
from perfmap.io.dicom_order import Order, complete_volumes, order_volumes

SAME_POSITION = 0.05  # mm, along the normal
SAME_DIRECTION = 1e-3
EVEN_SLICES = 0.02
"""Part of the slice step by which a single step may differ from it."""


@dataclass(frozen=True)
class Stack:
    """Images of one kind: the same echo, component, matrix and orientation.

    Attributes
    ----------
    frames : tuple of Frame
    n_positions : int
        Different slice positions (tiles in a mosaic).
    n_volumes : int
        Most images at one position.
    """

    frames: tuple[Frame, ...]
    n_positions: int
    n_volumes: int

    @property
    def echo_time(self) -> float | None:
        """Echo time, s."""
        return self.frames[0].echo_time

    @property
    def component(self) -> str:
        """Magnitude, phase, real or imaginary."""
        return self.frames[0].component

    @property
    def is_mosaic(self) -> bool:
        """Whether a frame holds a whole volume as tiles."""
        return self.frames[0].n_tiles > 0


@dataclass(frozen=True)
class Arranged:
    """A stack in space and time.

    Attributes
    ----------
    stack : Stack
    order : Order
        ``order.grid[volume][slice]``, slices along the normal; one frame a volume in a mosaic.
    notes : tuple of str
        What was put right.
    """

    stack: Stack
    order: Order
    notes: tuple[str, ...]

    @property
    def n_volumes(self) -> int:
        """Number of volumes."""
        return len(self.order.grid)

    @property
    def n_slices(self) -> int:
        """Number of slices of a volume."""
        first = self.order.grid[0]
        return first[0].n_tiles or len(first)


def stacks_of(frames: Sequence[Frame]) -> list[Stack]:
    """Split the images of a series by echo, component, matrix and orientation; the largest stack first.

    Images without a position or with an unknown number of tiles belong to no stack.
    """
    directions: list[np.ndarray] = []
    known: dict[tuple[float, ...], int] = {}
    groups: dict[tuple[object, ...], list[Frame]] = {}
    for frame in frames:
        if frame.position is None or frame.orientation is None or frame.spacing is None:
            continue
        direction = known.get(frame.orientation)
        if direction is None:
            cosines = np.array(frame.orientation)
            same = [
                i for i, other in enumerate(directions) if np.allclose(other, cosines, atol=SAME_DIRECTION)
            ]
            direction = known[frame.orientation] = same[0] if same else len(directions)
            if not same:
                directions.append(cosines)
        echo = None if frame.echo_time is None else round(frame.echo_time, 5)
        spacing = tuple(round(value, 3) for value in frame.spacing)
        key = (echo, frame.component, frame.rows, frame.columns, spacing, direction, frame.n_tiles)
        groups.setdefault(key, []).append(frame)
    stacks = []
    for group in groups.values():
        sizes = [len(column) for column in _columns(group)]
        stacks.append(Stack(tuple(group), group[0].n_tiles or len(sizes), max(sizes)))
    return sorted(stacks, key=lambda stack: -len(stack.frames))


def arrange(stack: Stack) -> Arranged:
    """Sort a stack by position, then time.

    Raises
    ------
    InputError
        If slices or volumes are missing, positions are uneven or shifted, acquisitions are mixed, or the order of
        time is unknown or contradictory.
    """
    columns, dropped = complete_volumes(_columns(list(stack.frames)))
    if not all(columns):
        raise InputError("the series holds no whole volume; export it again, whole")
    _refuse_uneven(columns)
    order = order_volumes(columns)
    return Arranged(stack, order, (*dropped, *order.notes))


def _columns(frames: list[Frame]) -> list[list[Frame]]:
    """Images by position along the normal."""
    orientation = np.array(frames[0].orientation)
    normal = np.cross(orientation[:3], orientation[3:])
    along = np.array([frame.position for frame in frames], dtype=float) @ normal
    order = np.argsort(along, kind="stable")
    columns: list[list[Frame]] = []
    last = -np.inf
    for index in order:
        if along[index] - last > SAME_POSITION:
            columns.append([])
            last = along[index]
        columns[-1].append(frames[index])
    return columns


def _refuse_uneven(columns: Sequence[Sequence[Frame]]) -> None:
    """Slices must be stacked in even steps on one straight line: nothing is ever interpolated across a gap."""
    positions = [np.array([frame.position for frame in column], dtype=float) for column in columns]
    spread = max(float(np.ptp(places, axis=0).max()) for places in positions)
    if spread > 1.0:
        raise InputError(
            f"the position of a slice changes by {spread:.3g} mm between volumes; the series was not acquired in one "
            "place, or its headers are wrong"
        )
    if len(columns) < 3:
        return
    steps = np.diff(np.stack([places[0] for places in positions]), axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    usual = np.median(steps, axis=0)
    off = np.linalg.norm(steps - usual, axis=1)
    worst = int(np.argmax(off))
    if off[worst] > max(EVEN_SLICES * float(np.linalg.norm(usual)), SAME_POSITION):
        raise InputError(
            f"slices are not evenly stacked: between slices {worst + 1} and {worst + 2} lie {lengths[worst]:.3g} mm, "
            f"elsewhere {np.linalg.norm(usual):.3g} mm; a slice is missing, or two stacks are mixed"
        )
