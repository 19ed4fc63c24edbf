"""What the scanner and the patient do to the images: fields, drift, pulsation, dropout, ghosts, storage."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from perfmap.phantom.priors.acquisition import ACQUISITION, SUSCEPTIBILITY_SOURCES
from perfmap.phantom.protocol import AcquisitionParameters, ArtefactParameters
from perfmap.phantom.randomness import axes_of, bounded_field, sub_generator

Float32Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]
Shape3 = tuple[int, int, int]


def static_gain(shape: Shape3, affine: FloatArray, acquisition: AcquisitionParameters) -> Float32Array:
    """Factor on a voxel's signal that does not change in time: bias field and susceptibility dropout.

    Returns
    -------
    ndarray, float32, shape (x, y, z)
    """
    settings = acquisition.artefacts
    gain = np.ones(shape, dtype=np.float32)
    if settings.bias > 0:
        spacing = ACQUISITION["bias_spacing"].value
        field = bounded_field(shape, affine, spacing=spacing, seed=acquisition.seed, name="bias")
        gain *= np.exp(np.float32(settings.bias) * field)
    if settings.dropout > 0 and acquisition.sequence == "gradient-echo":
        extra = settings.dropout * source_field(shape, affine, settings.dropout_radius, seed=acquisition.seed)
        gain *= np.exp(np.float32(-acquisition.echo_time) * extra)
    return gain


def source_field(shape: Shape3, affine: FloatArray, radius: float, *, seed: int) -> Float32Array:
    """Gaussian balls above the sphenoid sinus and either petrous bone, 1 in their centres. Shape (x, y, z)."""
    rng = sub_generator(seed, "sources")
    world = axes_of(shape, affine)
    field = np.zeros(shape, dtype=np.float32)
    for source in SUSCEPTIBILITY_SOURCES.points:
        centre = np.asarray(source) + rng.normal(0.0, ACQUISITION["source_jitter"].sd, 3)
        x, y, z = (
            np.exp(-0.5 * ((axis - middle) / radius) ** 2).astype(np.float32)
            for axis, middle in zip(world, centre, strict=True)
        )
        field += x[:, None, None] * y[None, :, None] * z[None, None, :]
    return np.minimum(field, np.float32(1))


def shift_map(shape: Shape3, affine: FloatArray, acquisition: AcquisitionParameters) -> Float32Array | None:
    """Geometric shift along y in voxels, largest beside the susceptibility sources; None where there is none."""
    largest = acquisition.artefacts.epi_shift
    if largest <= 0:
        return None
    field = source_field(shape, affine, ACQUISITION["shift_radius"].value, seed=acquisition.seed)
    sign = 1.0 if sub_generator(acquisition.seed, "polarity").random() < 0.5 else -1.0
    shift = np.float32(sign * largest) * field
    return shift if float(np.abs(shift).max()) > ACQUISITION["least_shift"].value else None


def shift_along_y(
    array: NDArray[np.generic], shift: Float32Array, *, nearest: bool = False
) -> NDArray[np.generic]:
    """Read ``array[x, y − shift, z, ...]`` with linear (or nearest) interpolation along the second axis.

    Parameters
    ----------
    array : ndarray, shape (x, y, z) or (x, y, z, t)
        Image or series.
    shift : ndarray, float32, shape (x, y, z)
        Shift, voxels.
    nearest : bool
        For labels and masks.

    Returns
    -------
    ndarray, shape and type of `array`
    """
    n_y = array.shape[1]
    where = np.clip(np.arange(n_y, dtype=np.float32)[None, :, None] - shift, 0, n_y - 1)
    result = array.copy()
    moved = np.nonzero(np.abs(shift) > ACQUISITION["unmoved_shift"].value)
    at = where[moved]
    x, _, z = moved
    if nearest:
        result[moved] = array[x, np.rint(at).astype(np.intp), z]
        return result
    low = np.minimum(at.astype(np.intp), n_y - 2)
    part = (at - low).astype(np.float32)
    if array.ndim == 4:
        part = part[:, None]
    result[moved] = (1 - part) * array[x, low, z] + part * array[x, low + 1, z]
    return result


def modulate(
    signal: Float32Array, affine: FloatArray, acquisition: AcquisitionParameters, offsets: FloatArray
) -> None:
    """Drift, breathing and pulse, in place: ``S · (1 + drift(t) + Σ amplitude · field(x) · sin 2πft)``.

    Parameters
    ----------
    signal : ndarray, float32, shape (x, y, z, t)
        Series; changed in place.
    affine : ndarray, shape (4, 4)
        Voxel indices to millimetres.
    acquisition : AcquisitionParameters
        Amplitudes and frequencies.
    offsets : ndarray, shape (z,)
        Moment of each slice within its image, s.
    """
    settings = acquisition.artefacts
    shape: Shape3 = (signal.shape[0], signal.shape[1], signal.shape[2])
    waves = [
        pair for pair in zip(settings.physiology, settings.physiology_frequency, strict=True) if pair[0] > 0
    ]
    if not waves and not any(settings.drift):
        return
    phases = sub_generator(acquisition.seed, "physiology").uniform(0, 2 * math.pi, len(waves))
    gains = [np.ones(shape, dtype=np.float32)]
    for n in range(len(waves)):
        spacing, name = ACQUISITION["physiology_spacing"].value, f"physiology {n}"
        gains.append(bounded_field(shape, affine, spacing=spacing, seed=acquisition.seed, name=name))
    basis = np.stack(gains, axis=-1)  # (x, y, z, k)
    place = np.linspace(0.0, 1.0, acquisition.n_times)
    drift = settings.drift[0] * place + settings.drift[1] * place**2
    for k in range(shape[2]):
        times = np.arange(acquisition.n_times) * acquisition.time_step + offsets[k]
        course = [drift] + [
            amplitude * np.sin(2 * math.pi * frequency * times + phase)
            for (amplitude, frequency), phase in zip(waves, phases, strict=True)
        ]
        factor = basis[:, :, k] @ np.stack(course).astype(np.float32)
        factor += 1.0
        signal[:, :, k] *= factor


def corrupt_images(signal: Float32Array, settings: ArtefactParameters) -> None:
    """N/2 ghost, spikes and a dropped image, in place on a series (x, y, z, t)."""
    if settings.ghost > 0:
        half = signal.shape[1] // 2
        ghost = signal * np.float32(settings.ghost)
        signal[:, half:] += ghost[:, : signal.shape[1] - half]
        signal[:, :half] += ghost[:, signal.shape[1] - half :]
    last = signal.shape[3] - 1
    for place, change in settings.spikes:
        signal[..., round(place * last)] *= np.float32(1.0 + change)
    if settings.dropped is not None:
        n = max(round(settings.dropped * last), 1)
        signal[..., n] = signal[..., n - 1]


def store(signal: Float32Array, settings: ArtefactParameters) -> Float32Array:
    """Round to whole numbers within int16 where the scanner stores those; still float32."""
    if not settings.int16:
        return signal
    np.rint(signal, out=signal)
    return np.clip(signal, 0, np.iinfo(np.int16).max, out=signal)
