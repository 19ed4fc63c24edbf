"""Where the slices of a simulated series lie: shape, affine and slice thickness."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from perfmap.errors import ConfigError
from perfmap.phantom.priors import draw
from perfmap.phantom.priors.anatomy import BRAIN_CENTRE, GEOMETRY

NATIVE_MATRIX = (128, 128, 20)
UPENN_MATRIX = (240, 240, 155)
STACK_MATRIX = 128
_MIDDLE_X, _MIDDLE_Y, _MIDDLE_Z = BRAIN_CENTRE.points[0]


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
    centre: tuple[float, float, float] = (_MIDDLE_X, _MIDDLE_Y, _MIDDLE_Z),
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
    in_plane, spacing = GEOMETRY["native_in_plane"].value, GEOMETRY["native_spacing"].value
    return axial_geometry(
        NATIVE_MATRIX, (in_plane, in_plane, spacing), slice_thickness=GEOMETRY["native_thickness"].value
    )


def upenn_geometry() -> Geometry:
    """The grid of the UPENN-GBM collection: 240 × 240 × 155 at 1 mm."""
    size = GEOMETRY["upenn_voxel"].value
    return axial_geometry(
        UPENN_MATRIX, (size, size, size), centre=(_MIDDLE_X, _MIDDLE_Y, GEOMETRY["upenn_z"].value)
    )


def draw_stack(rng: np.random.Generator, *, n_slices: int, matrix: int = STACK_MATRIX) -> Geometry:
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
        1.6–2.2 mm in plane at 128 × 128 (scaled for other matrices), slices 3–6 mm thick with a gap of 0–30 %;
        slices further apart than that where few of them are to span the cerebrum.
    """
    in_plane = draw(GEOMETRY["in_plane"], rng) * STACK_MATRIX / matrix
    thickness = draw(GEOMETRY["thickness"], rng)
    gapped = rng.random() < GEOMETRY["gapped"].value
    spacing = thickness * (1.0 + (draw(GEOMETRY["gap"], rng) if gapped else 0.0))
    if rng.random() < GEOMETRY["spread_out"].value:
        spacing = max(spacing, GEOMETRY["spread_out_span"].value / max(n_slices, 1))
    half = spacing * (n_slices - 1) / 2
    low, high = GEOMETRY["height"].low + half, GEOMETRY["height"].high - half
    height = float(rng.uniform(min(low, high), max(low, high)))
    shift = rng.uniform(GEOMETRY["shift"].low, GEOMETRY["shift"].high, size=2)
    return axial_geometry(
        (matrix, matrix, n_slices),
        (in_plane, in_plane, spacing),
        centre=(_MIDDLE_X + float(shift[0]), _MIDDLE_Y + float(shift[1]), height),
        slice_thickness=thickness,
    )
