"""Sub-seeds by purpose, and bounded smooth fields over a stack of slices."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from perfmap.phantom.fields import draw_field, evaluate_on_slice

Float32Array = NDArray[np.float32]


def sub_generator(seed: int, name: str) -> np.random.Generator:
    """Generator of its own for one purpose: changing one draw leaves all the others as they are."""
    return np.random.Generator(np.random.SFC64([seed, zlib.crc32(name.encode())]))


def axes_of(shape: tuple[int, int, int], affine: NDArray[np.float64]) -> list[Float32Array]:
    """Millimetre coordinates along the stack's own three axes. Shapes (x,), (y,), (z,)."""
    matrix = np.asarray(affine, dtype=np.float64)
    size = np.linalg.norm(matrix[:3, :3], axis=0)
    start = np.linalg.solve(matrix[:3, :3] / size, matrix[:3, 3])
    return [(start[axis] + size[axis] * np.arange(shape[axis])).astype(np.float32) for axis in range(3)]


def bounded_field(
    shape: tuple[int, int, int], affine: NDArray[np.float64], *, spacing: float, seed: int, name: str
) -> Float32Array:
    """Smooth random field between −1 and 1, the same wherever the slices lie.

    Parameters
    ----------
    shape : tuple of int
        Matrix (x, y, z).
    affine : ndarray, shape (4, 4)
        Voxel indices to millimetres, axial.
    spacing : float
        Distance of the control points, mm.
    seed : int
        Seed of the acquisition.
    name : str
        Purpose: fields of different names are independent.

    Returns
    -------
    ndarray, float32, shape (x, y, z)
    """
    field = draw_field(int(sub_generator(seed, name).integers(2**63)), spacing=spacing)
    x, y, z = axes_of(shape, affine)
    result = np.empty(shape, dtype=np.float32)
    for k, height in enumerate(z):
        result[:, :, k] = evaluate_on_slice(field, x, y, float(height))[0]
    return np.tanh(result, out=result)
