"""What a network is told beside the curves: the conventional maps, the noise, the brightness, and the protocol.

A network that is given the integrals need not learn to integrate; it learns what is wrong with them (noise, leakage,
partial volume, recirculation). Everything here is free of the scanner's scaling. What is proportional to dose,
relaxivity and echo time is divided by one number a series, the *scale* (`perfmap.preprocess.normalize`), whose
logarithm is told beside; `rescale` changes that number afterwards, as prediction does once it knows where white
matter is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.models.card import InputContract
from perfmap.physics.bolus import Bolus, first_pass_integral, mend_spikes
from perfmap.physics.leakage import bsw_k2, cumulative_integral, non_enhancing
from perfmap.physics.reference_fit import N_FUNCTIONALS, READINGS, reference_functionals
from perfmap.preprocess.normalize import LIMIT, REFERENCE_DURATION
from perfmap.series import FloatArray, Series

MAPS = ("first_pass", "bsw", "k2", "late", "noise", "brightness", "first_volume", "full")
"""Channels behind the curves, in this order; see `feature_maps`."""
SCALARS = (
    "log_scale",
    "white_matter_known",
    "echo_time",
    "echo_time_known",
    "repetition_time",
    "time_step",
    "early",
)
"""Numbers behind the validity of the grid points, in this order; see `protocol_scalars`. The reference curve, where the
network wants it, follows them."""
FIT_MAPS = (*(f"fit_{name}" for name in READINGS), "fit_early", "fit_leak")
"""Channels behind those, where the network wants them: `perfmap.physics.reference_fit`."""
T1_SCALARS = ("t1_weighting", "flip_angle_known", "field_strength", "field_strength_known")
"""Numbers that come last, where the network wants them; see `t1_scalars`."""
SCALED = ("first_pass", "bsw", "k2", "late", "full", *FIT_MAPS)
"""Maps that are proportional to −ln(S/S0)."""

_REFERENCE_VOXELS = 20000  # of which the mean curve of non-enhancing tissue is taken
_MIDDLE_ECHO, _ECHO_SPREAD = 0.03, 0.01  # s
_MIDDLE_STEP = 1.5  # s
_FLIP_ANGLES = (30.0, 90.0)  # degrees, of the training; others are read as the nearest
_FIELDS = (1.5, 3.0)  # T, likewise
# s, below a field in T; Stanisz 2005, doi 10.1002/mrm.20605
_GREY_T1 = ((2.0, 1.12), (np.inf, 1.82))
_LOWEST_NOISE = 1e-3
# Of the reference's peak: how well delayed and dispersed copies of it can fit tissue at all.
_MODEL_ERROR = 0.015


def leakage_reference(ratio: FloatArray, bolus: Bolus, *, time_step: float) -> NDArray[np.float64] | None:
    """Mean curve of tissue that does not leak, for the leakage fit; None where there is none.

    Parameters
    ----------
    ratio : ndarray, shape (n, t)
        −ln(S/S0) of brain voxels; a part of them will do.
    bolus : Bolus
    time_step : float
        s.

    Returns
    -------
    ndarray, shape (t,), or None
    """
    try:
        reference = ratio[non_enhancing(ratio, bolus)].mean(axis=0, dtype=float)
    except InputError:
        return None
    reference[: bolus.n_unsteady] = 0
    leak = cumulative_integral(reference, time_step=time_step)
    if np.linalg.matrix_rank(np.stack([reference, leak], axis=1)[bolus.n_unsteady :]) < 2:
        return None
    return np.asarray(reference)


def sample_voxels(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Every n-th voxel of a mask, at most about 20,000: enough for a mean curve, whatever the matrix."""
    places = np.flatnonzero(mask)
    chosen = np.zeros(mask.size, dtype=bool)
    chosen[places[:: max(1, places.size // _REFERENCE_VOXELS)]] = True
    return chosen.reshape(mask.shape)


def context_length(inputs: InputContract) -> int:
    """Numbers that a network is told of a series as a whole."""
    if inputs.features == "curves":
        return inputs.n_times
    of_curves = inputs.n_times * (2 if inputs.reference_curve else 1)
    return of_curves + len(SCALARS) + (len(T1_SCALARS) if inputs.t1_weighting else 0)


def channel_maps(inputs: InputContract) -> tuple[str, ...]:
    """Names of the channels behind the curves, in their order."""
    if inputs.features == "curves":
        return ()
    return (*MAPS, *FIT_MAPS) if inputs.reference_fit else MAPS


def feature_maps(
    ratio: FloatArray,
    baseline: FloatArray,
    bolus: Bolus,
    reference: NDArray[np.float64] | None,
    *,
    time_step: float,
    scale: float,
    brightness: float,
    functionals: NDArray[np.float64] | None = None,
) -> FloatArray:
    """Channels beside the curves, for some voxels.

    ``first_pass``, ``bsw``, ``full``: integrals of −ln(S/S0) over the first pass, of its leakage-corrected form over
    the first pass, and over all of the steady series, divided by `scale`. ``k2``: the integral of the leakage term
    over the first pass, likewise. ``late``: mean of the last tenth of the series, in the unit of the curves.
    ``noise``: logarithm of the standard error of ``first_pass``. ``brightness``: S0 over the brain's median.
    ``first_volume``: −ln of the first volume over S0, which tells T1 where the series begins unsteady. ``fit_…``: what
    the fit of the reference curve finds (`fit_functionals`), over `scale`.

    Parameters
    ----------
    ratio : ndarray, float32, shape (n, t)
        −ln(S/S0).
    baseline : ndarray, shape (n,)
        S0.
    bolus : Bolus
    reference : ndarray, shape (t,), or None
        From `leakage_reference`; without it nothing is corrected.
    time_step : float
        s.
    scale : float
        Scale of the series, s.
    brightness : float
        Median S0 of the brain.
    functionals : ndarray, shape (t, len(FIT_MAPS)), optional
        From `fit_functionals`, for networks that read these channels too.

    Returns
    -------
    ndarray, float32, shape (n, len(MAPS)) or (n, len(MAPS) + len(FIT_MAPS))
    """
    first_volume = ratio[:, 0]
    ratio = mend_spikes(ratio, bolus)
    steady = slice(bolus.n_unsteady, None)
    first_pass = first_pass_integral(ratio, bolus, time_step=time_step)
    leaked = np.zeros_like(first_pass)
    if reference is not None:
        k2 = bsw_k2(ratio, reference, time_step=time_step, window=steady)
        leak = cumulative_integral(reference, time_step=time_step)
        leaked = (k2 * float(first_pass_integral(leak, bolus, time_step=time_step))).astype(np.float32)
    n_late = max(ratio.shape[1] // 10, 3)
    n_window = bolus.window.stop - bolus.window.start
    spread = ratio[:, bolus.baseline].std(axis=1, ddof=1) * np.sqrt(n_window) * time_step / scale
    curves = REFERENCE_DURATION / scale
    channels = [
        first_pass / scale,
        (first_pass + leaked) / scale,
        leaked / scale,
        ratio[:, -n_late:].mean(axis=1) * curves,
        np.log(np.maximum(spread, _LOWEST_NOISE)),
        baseline / max(brightness, 1e-12),
        first_volume,
        ratio[:, steady].sum(axis=1) * time_step / scale,
    ]
    if functionals is not None:
        channels += list((ratio @ (functionals / scale).astype(np.float32)).T)
    return np.clip(np.stack(channels, axis=1), -LIMIT, LIMIT).astype(np.float32)


def fit_functionals(
    ratio: FloatArray, reference: NDArray[np.float64] | None, bolus: Bolus, *, time_step: float
) -> NDArray[np.float64]:
    """Weights over time whose products with −ln(S/S0) are the channels `FIT_MAPS`, before they are scaled.

    Volumes are in units of the first-pass integral, so that a curve like the reference's gives its first-pass
    integral. Where there is no reference, that integral stands for all of them, and nothing for arteries and leakage.

    Parameters
    ----------
    ratio : ndarray, shape (n, t)
        −ln(S/S0) of brain voxels, for the noise; a part of them will do.
    reference : ndarray, shape (t,), or None
        From `leakage_reference`.
    bolus : Bolus
    time_step : float
        s.

    Returns
    -------
    ndarray, shape (t, len(FIT_MAPS))
    """
    integral = first_pass_integral(np.eye(ratio.shape[1]), bolus, time_step=time_step)
    if reference is None:
        weights = np.zeros((len(integral), N_FUNCTIONALS))
        weights[:, : len(READINGS)] = integral[:, None]
        return weights
    least = _MODEL_ERROR * float(reference.max())
    weights = reference_functionals(
        reference,
        time_step=time_step,
        noise=max(float(np.median(ratio[:, bolus.baseline].std(axis=1, ddof=1))), least),
        steady=slice(bolus.n_unsteady, None),
    )
    level = np.full(weights.shape[1], float(reference @ integral))
    level[-1] = REFERENCE_DURATION  # the leakage term at the end has the unit of the curves, as `late` has
    return np.asarray(weights * level)


def t1_scalars(series: Series) -> FloatArray:
    """How strongly the signal is weighted by T1, and the field (−1: 1.5 T, 1: 3 T), each with whether it is known.

    The weighting is d ln S/d R1 of a spoiled gradient echo, s, at the T1 of grey matter: what leaked or intravascular
    agent adds to the signal, against what it takes away by T2*. Where flip angle or field is not known all numbers are
    0, for T1 hangs on the field. Shape (len(T1_SCALARS),).
    """
    if series.flip_angle is None or series.field_strength is None:
        return np.zeros(len(T1_SCALARS), dtype=np.float32)
    field = float(np.clip(series.field_strength, *_FIELDS))
    rest = np.exp(-series.repetition_time / next(t1 for below, t1 in _GREY_T1 if field < below))
    cosine = np.cos(np.radians(np.clip(series.flip_angle, *_FLIP_ANGLES)))
    weighting = series.repetition_time * rest * (1 - cosine) / ((1 - rest) * (1 - rest * cosine))
    low, high = _FIELDS
    return np.array([weighting, 1.0, 2 * (field - low) / (high - low) - 1, 1.0], dtype=np.float32)


def protocol_scalars(series: Series, bolus: Bolus, *, scale: float) -> FloatArray:
    """What is known of the protocol, shape (len(SCALARS),): 0 where it is not known.

    ``early`` is 1 where the series begins before its steady state, so that ``first_volume`` says something.
    """
    echo = series.echo_time
    return np.array(
        [
            np.log(scale),
            0.0,
            0.0 if echo is None else (echo - _MIDDLE_ECHO) / _ECHO_SPREAD,
            float(echo is not None),
            (series.repetition_time or series.time_step) - _MIDDLE_STEP,
            series.time_step - _MIDDLE_STEP,
            float(bolus.n_unsteady > 0),
        ],
        dtype=np.float32,
    )


def rescale(
    channels: FloatArray,
    context: FloatArray,
    factor: float,
    *,
    inputs: InputContract,
    white_matter_known: bool,
) -> tuple[FloatArray, FloatArray]:
    """Channels and context as they would be, had the series been divided by scale / `factor`.

    Parameters
    ----------
    channels : ndarray, shape (..., c, h, w)
        c = n_times + len(`channel_maps`).
    context : ndarray, shape (`context_length`,)
    factor : float
        Old scale over new scale.
    inputs : InputContract
        What the channels and the context hold.
    white_matter_known : bool
        Whether the new scale is the level of white matter, so that white matter of the first-pass map is 1.

    Returns
    -------
    channels, context : ndarray
        New arrays.
    """
    context, log_factor, n_times = context.copy(), np.float32(np.log(factor)), inputs.n_times
    place = {name: n_times + i for i, name in enumerate(channel_maps(inputs))}
    factors = np.ones(channels.shape[-3], dtype=np.float32)
    factors[[*range(n_times), *(place[name] for name in SCALED if name in place)]] = factor
    channels = channels * factors[:, None, None]
    inside = channels[..., place["brightness"], :, :] > 0
    channels[..., place["noise"], :, :] += np.where(inside, log_factor, np.float32(0))
    if inputs.reference_curve:
        context[n_times + len(SCALARS) :][:n_times] *= np.float32(factor)
    context[n_times + SCALARS.index("log_scale")] -= log_factor
    context[n_times + SCALARS.index("white_matter_known")] = float(white_matter_known)
    return channels, context
