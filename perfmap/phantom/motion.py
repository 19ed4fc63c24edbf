"""Rigid head motion from image to image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from perfmap.phantom.protocol import MotionParameters
from perfmap.phantom.randomness import sub_generator

Float32Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]

_STILL = 0.02  # mm and degrees below which an image is left as it is


def poses(parameters: MotionParameters, *, n_times: int, seed: int) -> FloatArray:
    """Translation (mm) and rotation (degrees) of the head at each image, the first image at rest.

    A random walk pulled gently back towards the start, plus sudden lasting jumps.

    Returns
    -------
    ndarray, shape (t, 6)
        x, y, z translations, then rotations about x, y, z.
    """
    rng = sub_generator(seed, "motion")
    steps = rng.standard_normal((n_times, 6)) * parameters.walk
    pose = np.zeros((n_times, 6))
    for n in range(1, n_times):
        pose[n] = 0.97 * pose[n - 1] + steps[n]
    for place, size in parameters.jumps:
        direction = rng.standard_normal(6)
        direction *= size / np.linalg.norm(direction)
        pose[round(place * (n_times - 1)) :] += direction
    return pose


def move(signal: Float32Array, affine: NDArray[np.float64], pose: FloatArray) -> Float32Array:
    """Resample each image to where the head was then (linear interpolation, about the centre of the volume).

    Parameters
    ----------
    signal : ndarray, float32, shape (x, y, z, t)
        Series.
    affine : ndarray, shape (4, 4)
        Voxel indices to millimetres.
    pose : ndarray, shape (t, 6)
        As from `poses`.

    Returns
    -------
    ndarray, float32, shape (x, y, z, t)
    """
    zooms = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)
    shape = signal.shape[:3]
    centre = (np.asarray(shape) - 1) / 2
    images = np.ascontiguousarray(np.moveaxis(signal, 3, 0))
    for n, image in enumerate(images):
        if np.abs(pose[n]).max() < _STILL:
            continue
        rotation = rotation_matrix(pose[n, 3:])
        matrix = (rotation.T / zooms[:, None]) * zooms[None, :]
        offset = centre - matrix @ centre - (rotation.T @ pose[n, :3]) / zooms
        images[n] = affine_transform(image, matrix, offset, order=1, mode="nearest", prefilter=False)
    return np.ascontiguousarray(np.moveaxis(images, 0, 3))


def rotation_matrix(degrees: FloatArray) -> FloatArray:
    """Rotation about x, then y, then z. Shape (3, 3)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x, dtype=np.float64)
