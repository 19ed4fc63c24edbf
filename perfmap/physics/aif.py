"""Arterial curves: the concentration of contrast agent in whole arterial blood, on a fine time grid.

Every function takes and returns arrays. Concentrations are in mM of whole blood; plasma is ``ca / (1 − H)``.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import gammainc, gammaln

FloatArray = NDArray[np.float64]
DispersionKind = Literal["none", "exponential", "gamma"]

# Parker et al. 2006, doi 10.1002/mrm.21066, Table 1; amplitudes in mM·min, times in min.
PARKER_AREA = (0.809, 0.330)
PARKER_CENTRE = (0.17046, 0.365)
PARKER_WIDTH = (0.0563, 0.132)
PARKER_ALPHA, PARKER_BETA = 1.050, 0.1685
PARKER_SLOPE, PARKER_TAU = 38.078, 0.483


def gamma_variate(time: FloatArray, *, arrival: float, alpha: float, beta: float) -> FloatArray:
    """Gamma variate of unit area, ``(t − t0)^α e^{−(t − t0)/β} / (β^{α+1} Γ(α+1))``.

    Parameters
    ----------
    time : ndarray, shape (t,)
        Time, s.
    arrival : float
        First moment after which the curve is positive, s.
    alpha : float
        Shape, unitless.
    beta : float
        Scale, s; the peak lies at ``arrival + alpha · beta``.

    Returns
    -------
    ndarray, shape (t,)
        Curve, 1/s.

    References
    ----------
    Thompson et al. 1964, doi 10.1161/01.RES.14.6.502.
    """
    since = np.maximum(time - arrival, 0.0)
    with np.errstate(divide="ignore"):
        logarithm = alpha * np.log(since) - since / beta - (alpha + 1) * math.log(beta) - gammaln(alpha + 1)
    return np.where(since > 0, np.exp(logarithm), 0.0)


def injected_bolus(
    time: FloatArray, *, arrival: float, duration: float, transit_time: float, n_chambers: float
) -> FloatArray:
    """First pass of an injection of finite length through heart and lungs; unit area.

    A box of `duration` seconds is convolved with the transit through `n_chambers` equal mixing chambers
    (a gamma density of mean `transit_time`). With the injected amount M and the cardiac output Q the arterial
    concentration is M/Q times this curve (Stewart and Hamilton's principle).

    Parameters
    ----------
    time : ndarray, shape (t,)
        Time, s.
    arrival : float
        Moment at which the first agent can arrive, s.
    duration : float
        Length of the injection, s.
    transit_time : float
        Mean cardiopulmonary transit time, s.
    n_chambers : float
        Number of mixing chambers, unitless.

    Returns
    -------
    ndarray, shape (t,)
        Curve, 1/s.
    """
    scale = transit_time / n_chambers
    since = np.maximum(time - arrival, 0.0)
    ended = np.maximum(since - duration, 0.0)
    return np.asarray((gammainc(n_chambers, since / scale) - gammainc(n_chambers, ended / scale)) / duration)


def parker(time: FloatArray, *, arrival: float) -> FloatArray:
    """Parker's population average of whole-blood concentration after 0.1 mmol/kg.

    Parameters
    ----------
    time : ndarray, shape (t,)
        Time, s.
    arrival : float
        Origin of the published formula, s: the foot of the bolus, 10.2 s before its peak.

    Returns
    -------
    ndarray, shape (t,)
        Concentration, mM.

    References
    ----------
    Parker et al. 2006, doi 10.1002/mrm.21066.
    """
    minutes = (time - arrival) / 60.0
    curve = np.zeros_like(minutes)
    for area, centre, width in zip(PARKER_AREA, PARKER_CENTRE, PARKER_WIDTH, strict=True):
        curve += area / (width * math.sqrt(2 * math.pi)) * np.exp(-0.5 * ((minutes - centre) / width) ** 2)
    sigmoid = 1.0 / (1.0 + np.exp(-np.maximum(PARKER_SLOPE * (minutes - PARKER_TAU), -50.0)))
    late = np.where(minutes > 0, PARKER_ALPHA * np.exp(-PARKER_BETA * minutes), 0.0)
    return curve + late * sigmoid


def recirculate(
    first_pass: FloatArray, *, time_step: float, fraction: float, delay: float, tau: float, tail: float
) -> FloatArray:
    """Add recirculation and the slowly rising tail to a first pass.

    ``first + f_r·(first(t − td) ⊗ e^{−t/τ}/τ)``, plus the running integral of that second term, scaled so
    that its plateau is `tail` times the peak of the first pass.

    Parameters
    ----------
    first_pass : ndarray, shape (t,)
        First pass on a regular grid that starts before the bolus, any unit.
    time_step : float
        Grid step, s.
    fraction : float
        Area of the recirculation term, as a fraction of the first pass.
    delay, tau : float
        Delay and exponential width of the recirculation, s.
    tail : float
        Plateau of the tail, as a fraction of the peak of the first pass.

    Returns
    -------
    ndarray, shape (t,)
        Curve in the unit of `first_pass`.
    """
    time = np.arange(first_pass.size) * time_step
    second = np.interp(time - delay, time, first_pass, left=0.0)
    second = fraction * exponential_filter(second, time_step=time_step, tau=tau)
    curve = first_pass + second
    area = fraction * first_pass.sum() * time_step
    if area > 0 and tail > 0:
        curve = curve + tail * first_pass.max() * np.cumsum(second) * time_step / area
    return curve


def exponential_filter(curve: FloatArray, *, time_step: float, tau: float) -> FloatArray:
    """Convolve with ``e^{−t/τ}/τ`` by a recursive filter whose gain at frequency 0 is exactly 1.

    Parameters
    ----------
    curve : ndarray, shape (..., t)
        Curve on a regular grid; taken as 0 before the grid begins.
    time_step, tau : float
        Grid step and time constant, s; ``tau = 0`` returns the curve itself.

    Returns
    -------
    ndarray, shape (..., t)
    """
    if tau <= 0:
        return curve
    decay = math.exp(-time_step / tau)
    gain = 0.5 * (1.0 - decay)
    return np.asarray(lfilter([gain, gain], [1.0, -decay], curve, axis=-1))


def disperse(curve: FloatArray, *, time_step: float, kind: DispersionKind, tau: float) -> FloatArray:
    """Spread a bolus on its way from the measured artery to the tissue; area unchanged, mean later by `tau`.

    Parameters
    ----------
    curve : ndarray, shape (t,)
        Arterial curve.
    time_step : float
        Grid step, s.
    kind : {"none", "exponential", "gamma"}
        Transport function: none, one exponential, or a gamma density of shape 2.
    tau : float
        Mean transport time, s.

    Returns
    -------
    ndarray, shape (t,)

    References
    ----------
    Calamante et al. 2000, doi 10.1002/1522-2594(200009)44:3<466::AID-MRM18>3.0.CO;2-M.
    """
    if kind == "none" or tau <= 0:
        return curve
    if kind == "exponential":
        return exponential_filter(curve, time_step=time_step, tau=tau)
    once = exponential_filter(curve, time_step=time_step, tau=tau / 2)
    return exponential_filter(once, time_step=time_step, tau=tau / 2)


def full_width_half_maximum(curve: FloatArray, *, time_step: float) -> float:
    """Width of the peak at half of its height, s, to the step of the grid."""
    peak = int(np.argmax(curve))
    half = curve[peak] / 2
    below_left = np.flatnonzero(curve[:peak] < half)
    below_right = np.flatnonzero(curve[peak:] < half)
    left = below_left[-1] + 1 if below_left.size else 0
    right = peak + below_right[0] if below_right.size else curve.size
    return float(right - left) * time_step
