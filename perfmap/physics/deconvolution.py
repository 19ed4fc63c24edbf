"""Flow by deconvolution: sSVD, cSVD, oSVD and Tikhonov.

A block-circulant matrix is diagonal in the Fourier basis and its singular values are the moduli of its
eigenvalues, so truncating them is a filter on the discrete spectrum: the same numbers as the matrix form,
at the cost of a fast Fourier transform. The circulant stays 2T × 2T: cut back to T × T it would be sSVD.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from perfmap.errors import InputError

SSVD_THRESHOLD = 0.2
CSVD_THRESHOLD = 0.1
OSCILLATION_LIMIT = 0.035
TIKHONOV_WEIGHT = 0.1
OSVD_STEP = 0.01
"""Step of the threshold that oSVD raises, as a part of the largest singular value."""

_MAX_THRESHOLD = 0.95
_CHUNK = 20_000


def volterra_weights(aif: ArrayLike) -> NDArray[np.float64]:
    """(a[i−1] + 4a[i] + a[i+1])/6: a piecewise-linear input instead of a staircase.

    doi 10.1002/mrm.1910360510 (Østergaard et al., MRM 1996).

    Parameters
    ----------
    aif : array_like, shape (t,)
        Arterial input function, taken as 0 outside.

    Returns
    -------
    ndarray, float64, shape (t + 1,)
        One sample longer than the input, so that nothing is lost at the end.
    """
    padded = np.pad(np.asarray(aif, dtype=float), (1, 2))
    return np.asarray((padded[:-2] + 4 * padded[1:-1] + padded[2:]) / 6)


def ssvd(
    tissue: NDArray[np.floating], aif: ArrayLike, *, time_step: float, threshold: float = SSVD_THRESHOLD
) -> NDArray[np.float32]:
    """Standard SVD: lower-triangular Toeplitz. Its flow depends on the delay. doi 10.1002/mrm.1910360510.

    Parameters
    ----------
    tissue : ndarray, shape (..., t)
        Tissue concentration, mM, or ΔR2* in the unit of the input function.
    aif : array_like, shape (t,)
        Arterial input function.
    time_step : float
        Interval between volumes, s.
    threshold : float
        Singular values below this part of the largest are dropped.

    Returns
    -------
    ndarray, float32, shape (..., t)
        Flow-scaled residue function k, 1/s.

    Raises
    ------
    InputError
        If the input function has no positive value, or another length than the tissue.
    """
    a = _check_aif(tissue, aif)
    matrix = time_step * scipy.linalg.toeplitz(volterra_weights(a)[:-1], np.zeros(a.size))
    u, s, vt = np.linalg.svd(matrix)
    inverse = np.where(s >= threshold * s[0], 1 / np.maximum(s, 1e-300), 0)
    return np.asarray(np.asarray(tissue) @ ((vt.T * inverse) @ u.T).T.astype(np.float32), dtype=np.float32)


def csvd(
    tissue: NDArray[np.floating], aif: ArrayLike, *, time_step: float, threshold: float = CSVD_THRESHOLD
) -> NDArray[np.float32]:
    """Block-circulant SVD with one threshold for all voxels. doi 10.1002/mrm.10522.

    Parameters
    ----------
    tissue, aif, time_step, threshold
        As in `ssvd`.

    Returns
    -------
    ndarray, float32, shape (..., 2t)
        Circular flow-scaled residue function, 1/s; indices above t are negative times.

    Raises
    ------
    InputError
        As `ssvd`.
    """
    spectrum = _spectrum(_check_aif(tissue, aif), time_step)
    size = np.abs(spectrum)
    inverse = np.where(size >= threshold * size.max(), 1 / spectrum, 0)
    return _filtered(tissue, inverse)


def tikhonov(
    tissue: NDArray[np.floating], aif: ArrayLike, *, time_step: float, weight: float = TIKHONOV_WEIGHT
) -> NDArray[np.float32]:
    """Block-circulant deconvolution with the filter s/(s² + μ²), μ = `weight` · largest singular value.

    Parameters
    ----------
    tissue, aif, time_step
        As in `ssvd`.
    weight : float
        0.05 to 0.1 is usual.

    Returns
    -------
    ndarray, float32, shape (..., 2t)
        As `csvd`.

    Raises
    ------
    InputError
        As `ssvd`.
    """
    spectrum = _spectrum(_check_aif(tissue, aif), time_step)
    size = np.abs(spectrum)
    return _filtered(tissue, spectrum.conj() / (size**2 + (weight * size.max()) ** 2))


def osvd(
    tissue: NDArray[np.floating], aif: ArrayLike, *, time_step: float, limit: float = OSCILLATION_LIMIT
) -> NDArray[np.float32]:
    """Block-circulant SVD; each voxel's threshold is raised until its residue oscillates less than `limit`.

    The singular values that the last raise would drop keep the part with which the limit is just met: dropped
    whole, two nearly equal curves could differ in flow by several per cent.
    doi 10.1002/mrm.10522 (Wu et al., MRM 2003).

    Parameters
    ----------
    tissue, aif, time_step
        As in `ssvd`.
    limit : float
        Largest `oscillation_index` that is let pass.

    Returns
    -------
    ndarray, float32, shape (..., 2t)
        As `csvd`.

    Raises
    ------
    InputError
        As `ssvd`.
    """
    a = _check_aif(tissue, aif)
    spectrum = _spectrum(a, time_step)
    relative = np.abs(spectrum) / np.abs(spectrum).max()
    flat = np.asarray(tissue, dtype=np.float32).reshape(-1, a.size)
    out = np.zeros((len(flat), 2 * a.size), dtype=np.float32)
    for start in range(0, len(flat), _CHUNK):
        part = scipy.fft.rfft(flat[start : start + _CHUNK], n=2 * a.size, axis=-1)
        part *= np.divide(1, spectrum, where=relative > 1e-9, out=np.zeros_like(spectrum)).astype(
            np.complex64
        )
        _raise_thresholds(part, relative, limit, out[start : start + _CHUNK])
    return out.reshape(*np.shape(tissue)[:-1], 2 * a.size)


def oscillation_index(residue: NDArray[np.floating]) -> NDArray[np.floating]:
    """(1/L)·(1/max k)·Σ|k_j − 2k_{j−1} + k_{j−2}|; infinite where no value is positive.

    Parameters
    ----------
    residue : ndarray, shape (..., L)
        Flow-scaled residue function.

    Returns
    -------
    ndarray, shape (...)
    """
    roughness = np.abs(np.diff(residue, n=2, axis=-1)).sum(axis=-1) / residue.shape[-1]
    top = residue.max(axis=-1)
    return np.asarray(np.divide(roughness, top, out=np.full_like(top, np.inf), where=top > 0))


def flow(residue: NDArray[np.floating], *, hematocrit_factor: float) -> NDArray[np.float32]:
    """Cerebral blood flow, 6000·kH·max(k).

    Parameters
    ----------
    residue : ndarray, shape (..., t or 2t)
        Flow-scaled residue function, 1/s.
    hematocrit_factor : float
        kH = (1 − H_large)/(1 − H_small).

    Returns
    -------
    ndarray, float32, shape (...)
        CBF, ml/100 ml/min; never negative.
    """
    return np.asarray(6000 * hematocrit_factor * np.maximum(residue.max(axis=-1), 0), dtype=np.float32)


def time_to_maximum(residue: NDArray[np.floating], *, n_times: int, time_step: float) -> NDArray[np.float32]:
    """Tmax, the time of the largest value of k.

    Parameters
    ----------
    residue : ndarray, shape (..., t or 2t)
        Flow-scaled residue function.
    n_times : int
        t, number of volumes; circular indices above it are negative delays.
    time_step : float
        Interval between volumes, s.

    Returns
    -------
    ndarray, float32, shape (...)
        Tmax, s.
    """
    index = residue.argmax(axis=-1)
    return np.asarray(
        np.where(index > n_times, index - residue.shape[-1], index) * time_step, dtype=np.float32
    )


def blood_volume(
    tissue: NDArray[np.floating], aif: ArrayLike, *, hematocrit_factor: float
) -> NDArray[np.float32]:
    """Absolute CBV, 100·kH·∫C_t/∫Ca, by trapezoids over the given samples.

    Parameters
    ----------
    tissue : ndarray, shape (..., t)
        Tissue concentration.
    aif : array_like, shape (t,)
        Arterial input function in the same unit.
    hematocrit_factor : float
        kH.

    Returns
    -------
    ndarray, float32, shape (...)
        CBV, ml/100 ml.

    Raises
    ------
    InputError
        As `ssvd`.
    """
    a = _check_aif(tissue, aif)
    data = np.asarray(tissue)
    area = data.sum(axis=-1, dtype=float) - 0.5 * (data[..., 0] + data[..., -1])
    return np.asarray(100 * hematocrit_factor * area / (a.sum() - 0.5 * (a[0] + a[-1])), dtype=np.float32)


def _check_aif(tissue: NDArray[np.floating], aif: ArrayLike) -> NDArray[np.float64]:
    a = np.asarray(aif, dtype=float)
    if a.ndim != 1 or a.size != np.shape(tissue)[-1]:
        raise InputError(
            f"the arterial input function has shape {a.shape}, wanted one value for each of the "
            f"{np.shape(tissue)[-1]} volumes; resample it to the series"
        )
    if not np.isfinite(a).all() or a.sum() <= 0:
        raise InputError(
            "the arterial input function has no positive area, wanted a bolus; choose other voxels"
        )
    return a


def _spectrum(aif: NDArray[np.float64], time_step: float) -> NDArray[np.complex128]:
    return np.asarray(time_step * scipy.fft.rfft(volterra_weights(aif), n=2 * aif.size))


def _filtered(tissue: NDArray[np.floating], inverse: NDArray[np.complex128]) -> NDArray[np.float32]:
    data = np.asarray(tissue, dtype=np.float32)
    length = 2 * data.shape[-1]
    flat = data.reshape(-1, data.shape[-1])
    out = np.empty((len(flat), length), dtype=np.float32)
    for start in range(0, len(flat), _CHUNK):
        part = scipy.fft.rfft(flat[start : start + _CHUNK], n=length, axis=-1) * inverse.astype(np.complex64)
        out[start : start + _CHUNK] = scipy.fft.irfft(part, n=length, axis=-1)
    return out.reshape(*data.shape[:-1], length)


def _raise_thresholds(
    spectra: NDArray[np.complex64], relative: NDArray[np.float64], limit: float, out: NDArray[np.float32]
) -> None:
    """Fill `out` with the first residue, from low thresholds to high, that oscillates less than `limit`."""
    waiting = np.arange(len(spectra))
    seen = -1
    index = np.full(len(spectra), np.inf, dtype=np.float32)
    for threshold in np.arange(OSVD_STEP, _MAX_THRESHOLD + OSVD_STEP / 2, OSVD_STEP):
        kept = relative >= threshold
        if kept.sum() == seen:
            continue
        seen = int(kept.sum())
        residue = scipy.fft.irfft(spectra[waiting] * kept, n=out.shape[1], axis=-1)
        now = oscillation_index(residue).astype(np.float32)
        smooth = now < limit
        before = index[waiting]
        cut = smooth & np.isfinite(before)
        gap = np.subtract(before, now, out=np.ones_like(now), where=cut)
        part = np.where(cut, (limit - np.minimum(now, limit)) / gap, 0)
        out[waiting] = residue + part[:, np.newaxis] * (out[waiting] - residue)
        index[waiting] = now
        waiting = waiting[~smooth]
        if waiting.size == 0:
            return
