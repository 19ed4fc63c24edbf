"""Smooth random fields: cubic B-splines over random control points, cheap to evaluate on a slice.

A field lives in millimetres, not in voxels, so a subject keeps its shape when the slices move or get thinner.
On a slice whose rows and columns run along the field's axes the spline separates into three small products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float32]

HEAD_BOX = ((-115.0, 115.0), (-145.0, 115.0), (-115.0, 125.0))
"""Millimetres around the origin that a field covers along x, y, z; beyond it the edge value holds."""

CORRELATION_OVER_SPACING = 1.2
"""Correlation length of a field over the distance of its control points."""

_SPLINE_SD = (151.0 / 315.0) ** 1.5
"""SD of a cubic B-spline in 3D with unit-variance control points: (∫B²)^(3/2)."""


@dataclass(frozen=True)
class SmoothField:
    """A random field with zero mean and unit SD.

    Attributes
    ----------
    control : ndarray, float32, shape (c, a, b, d)
        Control points of each of `c` components.
    spacing : float
        Distance between control points, mm; the correlation length is about 1.2 times this.
    """

    control: FloatArray
    spacing: float


def draw_field(seed: int, *, spacing: float, n_components: int = 1) -> SmoothField:
    """Make the field that belongs to a seed.

    Parameters
    ----------
    seed : int
        The same seed and spacing give the same field.
    spacing : float
        Distance between control points, mm.
    n_components : int
        Independent fields drawn together, for example the three of a displacement.

    Returns
    -------
    SmoothField
    """
    shape = tuple(_n_control(spacing, axis) for axis in range(3))
    control = np.random.default_rng(seed).standard_normal((n_components, *shape), dtype=np.float32)
    return SmoothField(control * np.float32(1.0 / _SPLINE_SD), spacing)


def add_fields(fine: SmoothField, coarse: SmoothField, *, weights: tuple[float, float]) -> SmoothField:
    """Weighted sum of two fields on the control points of the finer one.

    The coarse field is taken at the fine control points, which smooths it by a few per cent where its spacing is
    at least four times the fine one.
    """
    points = [
        (HEAD_BOX[axis][0] + fine.spacing * (np.arange(length) - 1.0)).astype(np.float32)
        for axis, length in enumerate(fine.control.shape[1:])
    ]
    slow = np.stack([evaluate_on_slice(coarse, points[0], points[1], float(z)) for z in points[2]], axis=-1)
    control: FloatArray = np.float32(weights[0]) * fine.control + np.float32(weights[1]) * slow
    return SmoothField(control, fine.spacing)


def evaluate_on_slice(field: SmoothField, x: FloatArray, y: FloatArray, z: float) -> FloatArray:
    """Evaluate a field on the lattice x × y at one height.

    Parameters
    ----------
    field : SmoothField
    x, y : ndarray, shape (nx,), (ny,)
        Coordinates of the lattice, mm.
    z : float
        Height, mm.

    Returns
    -------
    ndarray, float32, shape (c, nx, ny)
    """
    basis_x, basis_y, basis_z = (
        _basis(np.asarray(values, dtype=np.float32).tobytes(), field.spacing, axis)
        for axis, values in enumerate((x, y, z))
    )
    plane = field.control @ basis_z[0]  # (c, a, b)
    result: FloatArray = np.matmul(np.matmul(basis_x, plane), basis_y.T)
    return result


def evaluate_at(field: SmoothField, points: NDArray[np.floating]) -> FloatArray:
    """Evaluate a field at scattered points.

    Parameters
    ----------
    field : SmoothField
    points : ndarray, shape (n, 3)
        Positions, mm.

    Returns
    -------
    ndarray, float32, shape (c, n)
    """
    index = [_index(points[:, axis].astype(np.float64), field.spacing, axis) for axis in range(3)]
    values = [ndimage.map_coordinates(part, index, order=3, prefilter=False) for part in field.control]
    return np.asarray(values, dtype=np.float32)


def _n_control(spacing: float, axis: int) -> int:
    low, high = HEAD_BOX[axis]
    return int(np.ceil((high - low) / spacing)) + 3


def _index(values: NDArray[np.float64], spacing: float, axis: int) -> NDArray[np.float64]:
    """Position among the control points, kept one control point away from either end."""
    position = (values - HEAD_BOX[axis][0]) / spacing + 1.0
    clipped: NDArray[np.float64] = np.clip(position, 1.0, _n_control(spacing, axis) - 2 - 1e-6)
    return clipped


@lru_cache(maxsize=256)
def _basis(values: bytes, spacing: float, axis: int) -> FloatArray:
    """Dense matrix (n, control points) of cubic B-spline weights at float32 coordinates, given as bytes."""
    position = _index(np.frombuffer(values, dtype=np.float32).astype(np.float64), spacing, axis)
    distance = np.abs(position[:, None] - np.arange(_n_control(spacing, axis)))
    inner = 2.0 / 3.0 - distance**2 * (1.0 - distance / 2.0)
    outer = np.maximum(2.0 - distance, 0.0) ** 3 / 6.0
    return np.where(distance < 1.0, inner, outer).astype(np.float32)
