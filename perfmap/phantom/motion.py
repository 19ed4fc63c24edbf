"""Rigid head motion from image to image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perfmap.phantom.priors.acquisition import ACQUISITION
from perfmap.phantom.protocol import MotionParameters
from perfmap.phantom.randomness import sub_generator

Float32Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]

_FIRST = 8  # images that stand for the baseline, which a registration takes as its reference
_SLAB = 16384  # voxels resampled at a time: they stay in the cache


def poses(parameters: MotionParameters, *, n_times: int, seed: int) -> FloatArray:
    """Translation (mm) and rotation (degrees) of the head at each image, against that of the truth.

    A random walk from there, pulled gently back towards it, plus sudden lasting jumps. What registration leaves over
    (`MotionParameters.left`) is around the mean pose of the first eight images, which stand for the baseline, however
    long that is: it brings the others there, not to the truth.

    Returns
    -------
    ndarray, shape (t, 6)
        x, y, z translations, then rotations about x, y, z.
    """
    rng = sub_generator(seed, "motion")
    steps = rng.standard_normal((n_times, 6)) * parameters.walk
    pose = np.zeros((n_times, 6))
    for n in range(1, n_times):
        pose[n] = ACQUISITION["walk_pull"].value * pose[n - 1] + steps[n]
    for place, size in parameters.jumps:
        direction = rng.standard_normal(6)
        direction *= size / np.linalg.norm(direction)
        pose[round(place * (n_times - 1)) :] += direction
    reference = pose[:_FIRST].mean(axis=0)
    return pose if parameters.left == 1.0 else reference + parameters.left * (pose - reference)


def move(signal: Float32Array, affine: NDArray[np.float64], pose: FloatArray) -> Float32Array:
    """Resample each image to where the head was then (linear interpolation, about the centre of the volume).

    Where slices lie more than 10 mm apart only the motion within the slices is shown.

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
    shape = (signal.shape[0], signal.shape[1], signal.shape[2])
    centre = (np.asarray(shape) - 1) / 2
    images = np.ascontiguousarray(np.moveaxis(signal, 3, 0))
    for image, at in zip(images, pose, strict=True):
        if np.abs(at).max() < ACQUISITION["still"].value:
            continue
        rotation = rotation_matrix(at[3:])
        matrix = (rotation.T / zooms[:, None]) * zooms[None, :]
        offset = centre - matrix @ centre - (rotation.T @ at[:3]) / zooms
        if zooms[2] > ACQUISITION["sparse_slices"].value:  # a neighbour says nothing of what lies between
            matrix[2], offset[2] = (0.0, 0.0, 1.0), 0.0
        image[...] = _trilinear(image, matrix, offset)
    return np.ascontiguousarray(np.moveaxis(images, 0, 3))


def _trilinear(image: Float32Array, matrix: FloatArray, offset: FloatArray) -> Float32Array:
    """Read `image` at ``matrix · index + offset``; beyond the edge the edge value holds."""
    result = np.empty_like(image)
    n_x, n_y, n_z = image.shape
    slab = max(_SLAB // (n_y * n_z), 1)
    for first in range(0, n_x, slab):
        lines = [np.arange(n, dtype=np.float32) for n in image.shape]
        lines[0] = lines[0][first : first + slab]
        result[first : first + slab] = _trilinear_slab(image, lines, matrix, offset)
    return result


def _trilinear_slab(
    image: Float32Array, lines: list[Float32Array], matrix: FloatArray, offset: FloatArray
) -> Float32Array:
    """The part of the result at the indices x, y, z in `lines`: eight look-ups, blended along z, y and x."""
    steps = (image.shape[1] * image.shape[2], image.shape[2], 1)
    up = [step if n > 1 else 0 for step, n in zip(steps, image.shape, strict=True)]
    base = np.zeros(tuple(line.size for line in lines), dtype=np.intp)
    parts = []
    for axis, n in enumerate(image.shape):
        x, y, z = (matrix[axis, column].astype(np.float32) * lines[column] for column in range(3))
        where = (x[:, None, None] + np.float32(offset[axis])) + (y[:, None] + z)
        np.clip(where, 0, n - 1, out=where)
        low = np.minimum(where.astype(np.int32), max(n - 2, 0))
        where -= low
        parts.append(where)
        base += low * steps[axis]
    return _blended(image.reshape(-1), base, up, parts, 0)


def _blended(
    flat: Float32Array, start: NDArray[np.intp], up: list[int], parts: list[Float32Array], axis: int
) -> Float32Array:
    """Blend along `axis` what is blended along the axes behind it, at `start` and one step further.

    No closure: one that calls itself would keep its arrays until the next garbage collection.
    """
    last = axis == len(up) - 1
    near = flat.take(start) if last else _blended(flat, start, up, parts, axis + 1)
    if up[axis]:
        after = start + up[axis]
        far = flat.take(after) if last else _blended(flat, after, up, parts, axis + 1)
        far -= near
        far *= parts[axis]
        near += far
    return near


def rotation_matrix(degrees: FloatArray) -> FloatArray:
    """Rotation about x, then y, then z. Shape (3, 3)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x, dtype=np.float64)
