"""Normalisation strategies, by name; their constants live in the checkpoint's card."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.models.card import InputContract
from perfmap.series import FloatArray

# A normalised integral of 1 spread over 10 s: brings the peak of white matter to the order of 1.
REFERENCE_DURATION = 10.0
# What a network can meet at the most, in normalised units: keeps a dead voxel from ruling a slice.
LIMIT = 20.0
_TRIM = (10.0, 90.0)


def series_scale(first_pass: FloatArray, mask: NDArray[np.bool_]) -> float:
    """Mean first-pass integral of −ln(S/S0) over the brain, without its lowest and highest tenth.

    One number a series. Dose, relaxivity and echo time are factors of it, so curves divided by it
    are free of all three; CSF falls into the lowest tenth, vessels into the highest.

    Parameters
    ----------
    first_pass : ndarray, shape (x, y, z)
        First-pass integral, s.
    mask : ndarray of bool, shape (x, y, z)

    Returns
    -------
    float
        Scale, s.

    Raises
    ------
    InputError
        If the brain shows no loss of signal on average.
    """
    values = first_pass[mask]
    low, high = np.percentile(values, _TRIM)
    scale = float(values[(values >= low) & (values <= high)].mean(dtype=np.float64))
    if not scale > 0:
        raise InputError(
            f"the mean first-pass integral of the brain is {scale:.3g} s, wanted a loss of signal; "
            "look for spoilt volumes during the bolus, check that this is a T2*-weighted series in the right order of "
            "time, or give --mask"
        )
    return scale


def normalise(
    log_ratio: FloatArray, baseline: FloatArray, inputs: InputContract, *, scale: float
) -> FloatArray:
    """A network's input from gridded curves.

    Parameters
    ----------
    log_ratio : ndarray, shape (…, t)
        −ln(S/S0) on the network's time grid.
    baseline : ndarray, shape (…)
        S0, the series' own unit.
    inputs : InputContract
    scale : float
        From `series_scale`, s; used by ``log-ratio`` alone.

    Returns
    -------
    ndarray, float32, shape (…, t)
    """
    if inputs.normalisation == "log-ratio":
        return np.clip(log_ratio * np.float32(REFERENCE_DURATION / scale), -LIMIT, LIMIT)
    assert inputs.training_max is not None  # the card's own validator sees to it
    return np.asarray(
        baseline[..., None] * np.exp(-log_ratio) / np.float32(inputs.training_max), dtype=np.float32
    )


def denormalise(normalised: FloatArray, *, scale: float) -> FloatArray:
    """Inverse of `normalise` for ``log-ratio`` within its limits: −ln(S/S0)."""
    return np.asarray(normalised * np.float32(scale / REFERENCE_DURATION), dtype=np.float32)
