"""Where the slices of a simulated series lie: shape, affine and slice thickness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from perfmap.errors import ConfigError

BRAIN_CENTRE = (0.0, -18.0, 10.0)
"""Middle of the brain in MNI millimetres."""


class Geometry(BaseModel):
    """A stack of slices in RAS+ millimetres; the subject's head lies about the origin as in MNI space.

    Attributes
    ----------
    shape : tuple of int
        Matrix (x, y, z).
    affine : tuple of tuple of float
        Voxel index to millimetres, 4 × 4, third axis through the slices.
    slice_thickness : float or None
        Excited thickness, mm; None for slices without a gap.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, float, float, float], ...]
    slice_thickness: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Geometry:
        if min(self.shape) < 1:
            raise ConfigError(f"geometry has shape {self.shape}, wanted three positive numbers of voxels")
        matrix = np.asarray(self.affine)
        if matrix.shape != (4, 4) or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
            raise ConfigError(
                "geometry's affine is not an invertible 4 × 4 matrix; give voxel size and origin in mm"
            )
        return self

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as an array. Shape (4, 4)."""
        return np.asarray(self.affine, dtype=np.float64)

    @property
    def voxel_size(self) -> tuple[float, float, float]:
        """Distance between voxel centres along the three axes, mm."""
        x, y, z = np.linalg.norm(self.matrix[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def thickness(self) -> float:
        """Excited thickness of a slice, mm."""
        return self.voxel_size[2] if self.slice_thickness is None else self.slice_thickness


def axial_geometry(
    shape: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    *,
    centre: tuple[float, float, float] = BRAIN_CENTRE,
    slice_thickness: float | None = None,
) -> Geometry:
    """Axial slices around a centre.

    Parameters
    ----------
    shape : tuple of int
        Matrix (x, y, z).
    voxel_size : tuple of float
        mm; the third is the distance between slice centres.
    centre : tuple of float
        Middle of the stack, mm.
    slice_thickness : float, optional
        Excited thickness, mm.

    Returns
    -------
    Geometry
    """
    origin = [c - v * (n - 1) / 2 for c, v, n in zip(centre, voxel_size, shape, strict=True)]
    affine = (
        (voxel_size[0], 0.0, 0.0, origin[0]),
        (0.0, voxel_size[1], 0.0, origin[1]),
        (0.0, 0.0, voxel_size[2], origin[2]),
        (0.0, 0.0, 0.0, 1.0),
    )
    return Geometry(shape=shape, affine=affine, slice_thickness=slice_thickness)


def native_geometry() -> Geometry:
    """The whole brain as a clinical scanner stores it: 128 × 128 × 20, 1.8 mm in plane, 6.5 mm apart, 5 mm thick."""
    return axial_geometry((128, 128, 20), (1.8, 1.8, 6.5), slice_thickness=5.0)


def upenn_geometry() -> Geometry:
    """The grid of the UPENN-GBM collection: 240 × 240 × 155 at 1 mm."""
    return axial_geometry((240, 240, 155), (1.0, 1.0, 1.0), centre=(0.0, -18.0, 5.0))


def draw_stack(rng: np.random.Generator, *, n_slices: int, matrix: int = 128) -> Geometry:
    """A few slices at a random height, as training takes them.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_slices : int
        Number of slices.
    matrix : int
        Voxels along x and y.

    Returns
    -------
    Geometry
        1.5–2.5 mm in plane at 128 × 128 (scaled for other matrices), slices 3–6 mm thick with a gap of 0–30 %;
        slices further apart than that where few of them are to span the cerebrum.
    """
    in_plane = float(rng.uniform(1.6, 2.2)) * 128.0 / matrix
    thickness = float(rng.uniform(3.0, 6.0))
    spacing = thickness * (1.0 + (float(rng.uniform(0.0, 0.3)) if rng.random() < 0.5 else 0.0))
    if rng.random() < 0.5:
        spacing = max(spacing, 100.0 / max(n_slices, 1))
    half = spacing * (n_slices - 1) / 2
    low, high = -32.0 + half, 62.0 - half
    height = float(rng.uniform(min(low, high), max(low, high)))
    shift = rng.uniform(-6.0, 6.0, size=2)
    return axial_geometry(
        (matrix, matrix, n_slices),
        (in_plane, in_plane, spacing),
        centre=(float(shift[0]), -18.0 + float(shift[1]), height),
        slice_thickness=thickness,
    )
