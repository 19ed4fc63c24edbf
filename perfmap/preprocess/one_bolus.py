"""Of a series with two boluses, the part that holds one: everything behind this sees a series like any other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.physics.passes import Pass, choose_pass, describe_passes, find_boluses
from perfmap.preprocess.pipeline import finite_voxels, mean_curve, rough_head
from perfmap.series import Series


@dataclass(frozen=True)
class OneBolus:
    """A series with one bolus, and what else was in it.

    Attributes
    ----------
    series : Series
        The series itself, the same object, where it holds one bolus.
    passes : tuple of Pass
        All boluses, in order of time; empty where none was found, which is for `prepare_series` to refuse.
    chosen : int
        Index of the one in `series`.
    notes : tuple of str
        What a reader of the maps must know; empty for one bolus.
    """

    series: Series
    passes: tuple[Pass, ...] = ()
    chosen: int = 0
    notes: tuple[str, ...] = ()

    def like(self, other: Series) -> Series:
        """The same volumes of another series of the same length: a second echo."""
        return (
            other if len(self.passes) < 2 else replace(other, signal=_taken(other, self.passes[self.chosen]))
        )

    def described(self) -> dict[str, object] | None:
        """Plain values for a sidecar; None where there is one bolus."""
        if len(self.passes) < 2:
            return None
        return {
            "found": [
                {"arrival_volume": one.arrival, "peak_volume": one.peak, "depth": round(one.depth, 4)}
                for one in self.passes
            ],
            "read": self.chosen + 1,
            "volumes_used": list(self.passes[self.chosen].volumes),
        }


def one_bolus(
    series: Series, number: int | None = None, *, mask: NDArray[np.bool_] | None = None
) -> OneBolus:
    """Cut a series so that one bolus with its baseline is left: the last full one, or the one asked for.

    Parameters
    ----------
    series : Series
    number : int, optional
        Bolus to read, counted from 1.
    mask : ndarray of bool, shape (x, y, z), optional
        Brain mask; the bright part of the head where it is not given.

    Raises
    ------
    InputError
        If the bolus asked for is not there.
    """
    finite = finite_voxels(series)
    inside = finite & mask if mask is not None else rough_head(series, finite)
    try:
        if not inside.any():
            raise InputError("no bolus found: no voxel is finite and bright at all times")
        passes = find_boluses(mean_curve(series, inside), time_step=series.time_step)
    except InputError:
        if number is not None:
            raise
        return OneBolus(series)
    chosen = choose_pass(passes, number)
    if len(passes) == 1:
        return OneBolus(series, passes, chosen)
    note = (
        f"the series holds {describe_passes(passes)}; the map is that of bolus {chosen + 1}"
        f"{'' if number else ', the last full one; --bolus N takes another'}"
    )
    return OneBolus(replace(series, signal=_taken(series, passes[chosen])), passes, chosen, (note,))


def _taken(series: Series, taken: Pass) -> NDArray[np.float32]:
    first, last = taken.volumes[0], taken.volumes[-1]
    if len(taken.volumes) == last - first + 1:
        return series.signal[..., first : last + 1]  # a view: nothing is held twice
    return series.signal[..., list(taken.volumes)]
