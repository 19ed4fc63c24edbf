"""The MR signal of a voxel whose relaxation rates change while it is imaged.

Time stands on the **first** axis here: the recursion from pulse to pulse then works on contiguous memory.
Relaxation rates are in 1/s, times in s, angles in radians, concentrations in mM.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
LARGEST_FWHM = 1.7
"""Voxels, the widest noise that the three-point kernel of `complex_noise_channel` can make."""
_FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))


def start_magnetisation(
    r1: Float32Array, *, repetition_time: float, cos_flip: Float32Array | float, n_dummies: int
) -> Float32Array:
    """Longitudinal magnetisation after `n_dummies` pulses from equilibrium, in closed form.

    Parameters
    ----------
    r1 : ndarray, shape (n,)
        Longitudinal relaxation rate before the bolus.
    repetition_time : float
        Time between two pulses.
    cos_flip : ndarray, shape (n,), or float
        Cosine of the flip angle.
    n_dummies : int
        Pulses before the first image; 0 leaves the magnetisation at equilibrium.

    Returns
    -------
    ndarray, float32, shape (n,)
        Magnetisation, 1 at equilibrium.
    """
    e1 = np.exp(-repetition_time * r1)
    ratio = cos_flip * e1
    steady = -np.expm1(-repetition_time * r1) / np.maximum(1.0 - ratio, 1e-12)
    return np.asarray(steady + (1.0 - steady) * ratio**n_dummies, dtype=np.float32)


def longitudinal_magnetisation(
    r1: Float32Array,
    *,
    repetition_time: float,
    cos_flip: Float32Array | float,
    n_dummies: int = 0,
    pulses_per_volume: int = 1,
) -> Float32Array:
    """Magnetisation just before the pulse of each image, by exact recursion from pulse to pulse.

    ``m_{n+1} = 1 + (m_n cos α − 1) e^{−TR·R1_n}``: no steady state is assumed.

    Parameters
    ----------
    r1 : ndarray, float32, shape (t, n)
        Longitudinal relaxation rate at each image. **Overwritten** with the result.
    repetition_time : float
        Time between two pulses on the same slice.
    cos_flip : ndarray, shape (n,), or float
        Cosine of the flip angle.
    n_dummies : int
        Pulses before the first image.
    pulses_per_volume : int
        Pulses from one image to the next (shots); the first one makes the image.

    Returns
    -------
    ndarray, float32, shape (t, n)
        Magnetisation, 1 at equilibrium (the memory of `r1`).
    """
    m = start_magnetisation(r1[0], repetition_time=repetition_time, cos_flip=cos_flip, n_dummies=n_dummies)
    decay = r1
    decay *= np.float32(-repetition_time)
    np.exp(decay, out=decay)
    for n in range(decay.shape[0]):
        e1 = decay[n].copy() if pulses_per_volume > 1 else decay[n]
        now = m
        for _ in range(pulses_per_volume):
            m = m * cos_flip
            m -= 1.0
            m *= e1
            m += 1.0
        decay[n] = now
    return decay


def gradient_echo_signal(
    r1: Float32Array,
    r2star: Float32Array,
    *,
    echo_time: float,
    repetition_time: float,
    flip_angle: Float32Array | float,
    n_dummies: int = 0,
    pulses_per_volume: int = 1,
) -> Float32Array:
    """Spoiled gradient echo: ``sin α · m_n · exp(−TE·R2*_n)``.

    Parameters
    ----------
    r1, r2star : ndarray, float32, shape (t, n)
        Relaxation rates at each image. Both are **overwritten**.
    echo_time, repetition_time : float
        Echo time and time between two pulses.
    flip_angle : ndarray, shape (n,), or float
        Flip angle, rad.
    n_dummies, pulses_per_volume : int
        As in `longitudinal_magnetisation`.

    Returns
    -------
    ndarray, float32, shape (t, n)
        Signal for unit proton density.
    """
    cos_flip = np.cos(flip_angle).astype(np.float32)
    m = longitudinal_magnetisation(
        r1,
        repetition_time=repetition_time,
        cos_flip=cos_flip,
        n_dummies=n_dummies,
        pulses_per_volume=pulses_per_volume,
    )
    r2star *= np.float32(-echo_time)
    np.exp(r2star, out=r2star)
    m *= r2star
    m *= np.sin(flip_angle).astype(np.float32)
    return m


def spin_echo_signal(
    r1: Float32Array, r2: Float32Array, *, echo_time: float, repetition_time: float, n_dummies: int = 0
) -> Float32Array:
    """Spin echo after a 90° pulse: ``(1 − 2e^{−(TR−TE/2)R1} + e^{−TR·R1}) · exp(−TE·R2)``.

    A 90° pulse leaves no longitudinal magnetisation, so an image knows only the interval before it. The very
    first pulse finds full magnetisation: without dummies the first image is brighter.

    Parameters
    ----------
    r1, r2 : ndarray, float32, shape (t, n)
        Relaxation rates at each image. `r2` is **overwritten**.
    echo_time, repetition_time : float
        Echo time and time between two excitations.
    n_dummies : int
        Pulses before the first image.

    Returns
    -------
    ndarray, float32, shape (t, n)
        Signal for unit proton density.
    """
    late = np.exp(r1 * np.float32(-(repetition_time - echo_time / 2)))
    m = 1.0 - 2.0 * late
    m += np.exp(r1 * np.float32(-repetition_time))
    if n_dummies == 0:
        m[0] = 1.0
    r2 *= np.float32(-echo_time)
    np.exp(r2, out=r2)
    m *= r2
    return np.asarray(m, dtype=np.float32)


def blood_delta_r2star(concentration: Float32Array, *, linear: float, quadratic: float) -> Float32Array:
    """ΔR2* of whole blood, ``linear·C + quadratic·C²``, 1/s; the quadratic term rules at 3 T.

    References
    ----------
    van Osch et al. 2003, Magn Reson Med 49:1067 (1.5 T).
    """
    return np.asarray(concentration * (np.float32(linear) + np.float32(quadratic) * concentration))


def complex_noise_channel(shape: tuple[int, ...], *, fwhm: float, rng: np.random.Generator) -> Float32Array:
    """Gaussian noise of unit variance, correlated in plane (the first two axes).

    Parameters
    ----------
    shape : tuple of int
        Shape of the result, (x, y, ...).
    fwhm : float
        Full width of the in-plane smoothing, voxels, up to 1.7. A three-point kernel with the variance of the
        Gaussian is run along both axes, and the result scaled back to unit variance.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray, float32
    """
    noise = rng.standard_normal(shape, dtype=np.float32)
    if fwhm <= 0:
        return noise
    variance = (fwhm / _FWHM_PER_SIGMA) ** 2
    side = min(
        variance / (2.0 - 2.0 * variance), 1.0
    )  # kernel (side, 1, side): its variance is that of the Gaussian
    scale = 1.0 / math.sqrt(1.0 + 2.0 * side * side)
    for axis in (0, 1):
        if shape[axis] < 3:
            continue
        noise = _three_point(noise, axis=axis, centre=scale, side=side * scale)
    return noise


def rician_magnitude(
    signal: Float32Array, *, sigma: float, fwhm: float = 0.0, rng: np.random.Generator
) -> Float32Array:
    """Magnitude of the signal after complex Gaussian noise of SD `sigma` in either channel.

    Parameters
    ----------
    signal : ndarray, float32, shape (x, y, ...)
        Noise-free magnitude.
    sigma : float
        SD of a channel, in units of the signal.
    fwhm : float
        In-plane correlation of the noise, voxels.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    ndarray, float32

    References
    ----------
    Gudbjartsson and Patz 1995, doi 10.1002/mrm.1910340618.
    """
    real = complex_noise_channel(signal.shape, fwhm=fwhm, rng=rng)
    real *= np.float32(sigma)
    real += signal
    real *= real
    imaginary = complex_noise_channel(signal.shape, fwhm=fwhm, rng=rng)
    imaginary *= np.float32(sigma)
    imaginary *= imaginary
    real += imaginary
    return np.sqrt(real, out=real)


def _three_point(array: Float32Array, *, axis: int, centre: float, side: float) -> Float32Array:
    """Periodic filter (side, centre, side) along one axis."""
    result = array * np.float32(centre)
    weighted = array * np.float32(side)
    here, other = np.moveaxis(result, axis, 0), np.moveaxis(weighted, axis, 0)
    here[1:] += other[:-1]
    here[0] += other[-1]
    here[:-1] += other[1:]
    here[-1] += other[0]
    return result
