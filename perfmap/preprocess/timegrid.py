"""From any number of volumes at any interval to the network's time points, in seconds around the bolus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.models.card import InputContract
from perfmap.series import FloatArray


@dataclass(frozen=True)
class TimeMapping:
    """How acquired points become grid points.

    Attributes
    ----------
    weights : ndarray, float32, shape (t, n_times)
        ``curve @ weights`` is the curve on the grid.
    valid : ndarray, float32, shape (n_times,)
        1 where the grid point lies inside of the measured, steady time; 0 where it is filled in.
    """

    weights: FloatArray
    valid: FloatArray

    def __call__(self, curves: NDArray[np.floating]) -> FloatArray:
        """Curves of shape (…, t) on the grid, shape (…, n_times)."""
        return np.asarray(curves @ self.weights, dtype=np.float32)


def grid_offsets(inputs: InputContract) -> NDArray[np.float64]:
    """Times of the grid points relative to the bolus arrival, s. Shape (n_times,)."""
    return np.arange(inputs.n_times, dtype=np.float64) * inputs.time_step - inputs.before_arrival


def map_time(
    inputs: InputContract, *, n_times: int, time_step: float, arrival: int, n_unsteady: int
) -> TimeMapping:
    """Linear interpolation of −ln(S/S0) onto the network's grid; nothing is extrapolated.

    Before the first steady volume a grid point is 0 (the baseline's value), after the last volume it keeps
    the last value; in both places `valid` is 0.

    Parameters
    ----------
    inputs : InputContract
    n_times : int
        Volumes of the series.
    time_step : float
        Interval between volumes, s.
    arrival : int
        Index of the volume at the bolus arrival.
    n_unsteady : int
        First volumes that are not in steady state.

    Raises
    ------
    InputError
        For ``as-acquired`` contracts, if the number of volumes is not the network's.
    """
    if inputs.time_alignment == "as-acquired":
        if n_times != inputs.n_times:
            raise InputError(
                f"series has {n_times} volumes, this model reads exactly {inputs.n_times} as acquired; "
                "choose another model, for instance the default"
            )
        return TimeMapping(np.eye(n_times, dtype=np.float32), np.ones(n_times, dtype=np.float32))
    position = arrival + grid_offsets(inputs) / time_step  # in volumes
    valid = (position >= n_unsteady - 1e-6) & (position <= n_times - 1 + 1e-6)
    lower = np.clip(np.floor(position + 1e-6).astype(int), 0, n_times - 1)
    upper = np.minimum(lower + 1, n_times - 1)
    part = np.clip(position - lower, 0.0, 1.0)
    weights = np.zeros((n_times, inputs.n_times))
    column = np.arange(inputs.n_times)
    np.add.at(weights, (lower, column), 1.0 - part)
    np.add.at(weights, (upper, column), part)
    weights[:, position < n_unsteady - 1e-6] = 0.0
    return TimeMapping(weights.astype(np.float32), valid.astype(np.float32))
