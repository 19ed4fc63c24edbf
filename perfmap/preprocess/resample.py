"""In-plane resampling to the network's matrix and back.

Every step is a linear map, so it is written as one: a matrix per axis, applied to a slice from both sides.
A slice that is not square is first set in the middle of a square, so pixels keep their aspect.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from perfmap.models.card import Interpolation
from perfmap.series import FloatArray


@lru_cache(maxsize=64)
def resampling_matrix(n_in: int, n_out: int, extent: int, interpolation: Interpolation) -> FloatArray:
    """Matrix that takes `n_in` pixels, centred in `extent` pixels of the same size, to `n_out` pixels.

    Parameters
    ----------
    n_in : int
        Pixels of the input axis.
    n_out : int
        Pixels of the output axis.
    extent : int
        Pixels of the square's edge that is resampled; ``extent − n_in`` are empty.
    interpolation : {"linear", "nearest"}
        ``linear``: hat functions as wide as the coarser of the two pixels, so shrinking averages.

    Returns
    -------
    ndarray, float32, shape (n_out, n_in)
        Rows add up to 1 where the output pixel lies inside of the input.
    """
    ratio = extent / n_out
    # Centres of the output pixels in units of input pixels.
    position = (np.arange(n_out) + 0.5) * ratio - 0.5 - (extent - n_in) // 2
    column = np.arange(n_in)
    if interpolation == "nearest":
        weights = (np.floor(position + 0.5)[:, None] == column).astype(np.float64)
    else:
        width = max(ratio, 1.0)
        weights = np.clip(1.0 - np.abs(position[:, None] - column) / width, 0.0, None)
        inside = (position > -0.5 - 1e-9) & (position < n_in - 0.5 + 1e-9)
        total = weights.sum(axis=1, keepdims=True)
        # Outer half pixels have one neighbour only: its value counts in full.
        weights = np.where(inside[:, None], weights / np.maximum(total, 1e-12), 0.0)
    matrix = weights.astype(np.float32)
    matrix.setflags(write=False)
    return matrix


def to_matrix(
    image: FloatArray, mask: NDArray[np.bool_], matrix: int, interpolation: Interpolation
) -> tuple[FloatArray, FloatArray]:
    """Bring a slice with channels onto the network's square matrix, averaging over masked pixels alone.

    Parameters
    ----------
    image : ndarray, float32, shape (x, y, c)
    mask : ndarray of bool, shape (x, y)
        Pixels that count.
    matrix : int
        Edge of the target.
    interpolation : {"linear", "nearest"}

    Returns
    -------
    image : ndarray, float32, shape (matrix, matrix, c)
        0 where no masked pixel is near.
    coverage : ndarray, float32, shape (matrix, matrix)
        Share of the pixel that the mask covers, 0–1.
    """
    extent = max(mask.shape)
    rows = resampling_matrix(mask.shape[0], matrix, extent, interpolation)
    columns = resampling_matrix(mask.shape[1], matrix, extent, interpolation)
    weight = mask.astype(np.float32)
    coverage = np.asarray(rows @ weight @ columns.T, dtype=np.float32)
    half = np.tensordot(rows, image * weight[..., None], axes=(1, 0))  # (matrix, y, c)
    full = np.asarray(np.matmul(columns, half), dtype=np.float32)  # (matrix, matrix, c)
    full /= np.maximum(coverage, 1e-6)[..., None]
    full[coverage <= 0.0] = 0.0
    return full, coverage


def from_matrix(image: FloatArray, shape: tuple[int, int], interpolation: Interpolation) -> FloatArray:
    """Bring a map from the network's matrix back to a slice of `shape`, pixels in place.

    Parameters
    ----------
    image : ndarray, float32, shape (matrix, matrix)
    shape : tuple of int
        The slice's own matrix (x, y).
    interpolation : {"linear", "nearest"}

    Returns
    -------
    ndarray, float32, shape `shape`
    """
    extent = max(shape)
    matrix = image.shape[0]
    if extent == matrix:
        start = [(extent - n) // 2 for n in shape]
        return image[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1]].copy()
    whole = resampling_matrix(matrix, extent, matrix, interpolation)
    sides = [whole[(extent - n) // 2 : (extent - n) // 2 + n] for n in shape]
    return np.asarray(sides[0] @ image @ sides[1].T, dtype=np.float32)


def brain_box(covered: NDArray[np.bool_], *, multiple: int) -> tuple[slice, slice]:
    """The smallest box around the brain whose edges are multiples of `multiple`, as far as the slice is large enough.

    Parameters
    ----------
    covered : ndarray of bool, shape (x, y)
        Pixels that hold brain; at least one.
    multiple : int

    Returns
    -------
    tuple of slice
    """
    sides = []
    for axis in (0, 1):
        places = np.flatnonzero(covered.any(axis=1 - axis))
        length, size = int(places[-1] + 1 - places[0]), covered.shape[axis]
        wanted = min(-(-length // multiple) * multiple, size)
        start = min(max(int(places[0]) - (wanted - length) // 2, 0), size - wanted)
        sides.append(slice(start, start + wanted))
    return sides[0], sides[1]
