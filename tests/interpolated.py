"""Images as a scanner interpolates them: k-space is padded with zeros, then the magnitude is taken."""

from __future__ import annotations

import numpy as np


def zero_filled(images: np.ndarray, factor: float, *, axes: tuple[int, ...] = (0, 1)) -> np.ndarray:
    """Magnitude of images whose matrix was enlarged by zero filling; the first sample stays in its place.

    Parameters
    ----------
    images : ndarray, real or complex, shape (column, row, ...)
    factor : float
        New over old number of samples; the product is a whole number.
    """
    for axis in axes:
        n = images.shape[axis]
        wanted = round(n * factor)
        spectrum = np.moveaxis(np.fft.fft(images, axis=axis), axis, 0)
        padded = np.zeros((wanted, *spectrum.shape[1:]), dtype=complex)
        half = (n + 1) // 2
        padded[:half] = spectrum[:half]
        padded[wanted - n // 2 :] = spectrum[n - n // 2 :]
        if n % 2 == 0 and wanted > n:  # the highest frequency is shared between its two signs
            padded[n // 2] = padded[wanted - n // 2] = spectrum[n // 2] / 2
        images = np.moveaxis(np.fft.ifft(padded, axis=0), 0, axis) * (wanted / n)
    return np.abs(images)
