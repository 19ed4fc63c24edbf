"""Apply an acquisition to a subject.

`AcquisitionParameters` is drawn once, travels as JSON and is applied by `acquire`, which draws nothing but what
the seed inside the record decides: the same record gives the same bytes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perfmap.phantom import artefacts, motion
from perfmap.phantom.contrast import perfused_signal
from perfmap.phantom.injection import slice_offsets
from perfmap.phantom.priors import LABELS
from perfmap.phantom.protocol import AcquisitionParameters
from perfmap.phantom.protocol_drawing import draw_acquisition
from perfmap.phantom.randomness import sub_generator
from perfmap.phantom.subject import Subject
from perfmap.physics.signal import rician_magnitude

Float32Array = NDArray[np.float32]

__all__ = ["acquire", "corrupt", "draw_acquisition"]


def acquire(subject: Subject, acquisition: AcquisitionParameters) -> Float32Array:
    """Simulate the DSC-MRI series of a subject.

    Parameters
    ----------
    subject : Subject
        Tissue and vessels.
    acquisition : AcquisitionParameters
        Scanner, injection and artefacts.

    Returns
    -------
    ndarray, float32, shape (x, y, z, t)
        Stored signal.
    """
    signal = perfused_signal(subject, acquisition)
    return corrupt(signal, subject, acquisition)


def corrupt(signal: Float32Array, subject: Subject, acquisition: AcquisitionParameters) -> Float32Array:
    """Everything after the physics of a voxel: fields, shift, motion, ghost, noise, storage.

    Parameters
    ----------
    signal : ndarray, float32, shape (x, y, z, t)
        As from `perfused_signal`; **overwritten**.

    Returns
    -------
    ndarray, float32, shape (x, y, z, t)
    """
    settings = acquisition.artefacts
    signal *= artefacts.static_gain(subject.shape, subject.affine, acquisition)[..., None]
    shift = artefacts.shift_map(subject.shape, subject.affine, acquisition)
    if shift is not None:
        signal = artefacts.shift_along_y(signal, shift).astype(np.float32, copy=False)
    offsets = slice_offsets(subject.shape[2], acquisition)
    artefacts.modulate(signal, subject.affine, acquisition, offsets)
    reference = _white_matter_baseline(signal, subject)
    if acquisition.motion.walk > 0 or acquisition.motion.jumps:
        pose = motion.poses(acquisition.motion, n_times=acquisition.n_times, seed=acquisition.seed)
        signal = motion.move(signal, subject.affine, pose)
    artefacts.corrupt_images(signal, settings)
    factor = settings.scale / reference
    signal *= np.float32(factor)
    if settings.snr is not None:
        rng = sub_generator(acquisition.seed, "noise")
        sigma = settings.scale / settings.snr
        for k in range(subject.shape[2]):
            signal[:, :, k] = rician_magnitude(
                np.ascontiguousarray(signal[:, :, k]), sigma=sigma, fwhm=settings.noise_fwhm, rng=rng
            )
    return artefacts.store(signal, settings)


def _white_matter_baseline(signal: Float32Array, subject: Subject) -> float:
    """Mean signal of white matter (else of the brain) in the third image, when the magnetisation has settled."""
    image = signal[..., min(2, signal.shape[3] - 1)]
    for mask in (subject.nawm, subject.labels == LABELS["wm"], subject.brain_mask):
        if mask.any():
            return max(float(image[mask].mean(dtype=np.float64)), 1e-12)
    return max(float(image.mean(dtype=np.float64)), 1e-12)
