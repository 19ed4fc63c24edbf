"""Residue functions: what stays in the tissue after the blood has brought it, and what leaks out of the vessels."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal import lfilter
from scipy.special import gammaincc

FloatArray = NDArray[np.float64]
ResidueFamily = Literal["gamma", "box", "linear", "lorentzian"]

KERNEL_SAMPLES = 4096
"""Samples over which a kernel is brought to unit area, at the least."""


def residue_function(
    time: FloatArray, *, mtt: float, family: ResidueFamily, residue_lambda: float = 1.0
) -> FloatArray:
    """Fraction of the agent still in the tissue at `time` after an instantaneous input; area = `mtt`.

    Parameters
    ----------
    time : ndarray, shape (t,)
        Time since the input, s, not negative.
    mtt : float
        Mean transit time, s, positive.
    family : {"gamma", "box", "linear", "lorentzian"}
        ``gamma``: transit times follow a gamma density (λ = 1 exponential, large λ towards a box).
    residue_lambda : float
        Shape λ of the gamma family; ignored by the others.

    Returns
    -------
    ndarray, shape (t,)
        R(t), 1 at t = 0.

    References
    ----------
    Mouridsen et al. 2006, doi 10.1016/j.neuroimage.2006.06.015 (gamma transit times).
    """
    if family == "gamma":
        return np.asarray(gammaincc(residue_lambda, time * residue_lambda / mtt))
    if family == "box":
        return np.where(time < mtt, 1.0, 0.0)
    if family == "linear":
        return np.maximum(1.0 - time / (2.0 * mtt), 0.0)
    return np.asarray(1.0 / (1.0 + (math.pi * time / (2.0 * mtt)) ** 2))


def residue_kernel(
    n_times: int, *, time_step: float, mtt: float, family: ResidueFamily, residue_lambda: float = 1.0
) -> FloatArray:
    """Discrete ``h = R/∫R``: R(0) halved, then divided by its sum, so that a convolution keeps the area.

    Returns
    -------
    ndarray, shape (n_times,)
        Weights that sum to 1; ``mtt = 0`` gives the identity.
    """
    kernel = np.zeros(n_times)
    if mtt <= 0:
        kernel[0] = 1.0
        return kernel
    time: FloatArray = np.arange(n_times, dtype=np.float64) * time_step
    kernel = residue_function(time, mtt=mtt, family=family, residue_lambda=residue_lambda)
    kernel[0] *= 0.5
    return np.asarray(kernel / kernel.sum())


def tissue_response(
    arterial: FloatArray, *, time_step: float, mtt: float, family: ResidueFamily, residue_lambda: float = 1.0
) -> FloatArray:
    """Convolve one arterial curve with one kernel h; the plain form of the library, for few curves.

    Parameters
    ----------
    arterial : ndarray, shape (t,)
        Arterial concentration on a regular grid, mM.

    Returns
    -------
    ndarray, shape (t,)
        ``Ca ⊗ h``, mM.
    """
    kernel = residue_kernel(
        max(arterial.size, KERNEL_SAMPLES),
        time_step=time_step,
        mtt=mtt,
        family=family,
        residue_lambda=residue_lambda,
    )
    size = fft.next_fast_len(arterial.size + kernel.size)
    product = fft.rfft(arterial, size) * fft.rfft(kernel, size)
    return np.asarray(fft.irfft(product, size))[: arterial.size]


def interstitial_response(plasma: FloatArray, *, time_step: float, kep: FloatArray) -> FloatArray:
    """``∫ Cp(τ) e^{−kep (t−τ)} dτ`` for each kep, by an exact recursion for a piecewise linear plasma curve.

    Parameters
    ----------
    plasma : ndarray, shape (t,)
        Plasma concentration, mM.
    time_step : float
        Grid step, s.
    kep : ndarray, shape (k,)
        Efflux rates, 1/min.

    Returns
    -------
    ndarray, shape (k, t)
        Integral in mM·min; times Ktrans (1/min) it is the interstitial concentration per tissue volume.

    References
    ----------
    Tofts et al. 1999, doi 10.1002/(SICI)1522-2586(199909)10:3<223::AID-JMRI2>3.0.CO;2-S.
    """
    step = time_step / 60.0
    rows = []
    for rate in kep:
        x = rate * step
        decay = math.exp(-x)
        if x < 1e-4:
            old, new = step * (0.5 - x / 3), step * (0.5 - x / 6)
        else:
            new = step * (1.0 - (1.0 - decay) / x) / x
            old = step * ((1.0 - decay) / x - decay) / x
        rows.append(lfilter([new, old], [1.0, -decay], plasma))
    return np.stack(rows)
