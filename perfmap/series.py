"""The two things that travel: a 4D `Series` and a 3D `Volume`.

Inside perfmap there is one convention, converted once at the door (``perfmap.io``): array axes run along
RAS+ (x, y, z, t), millimetres, seconds, float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """The input file's own grid, kept so that a map can be written back onto exactly it.

    Attributes
    ----------
    shape : tuple of int
        Matrix of the file (i, j, k), before axes are turned to RAS+.
    orientation : ndarray, shape (3, 2)
        nibabel's orientation array of the file: for each file axis its RAS+ axis and direction (±1).
    zooms : tuple of float
        Voxel size along the file's axes, mm.
    qform, sform : ndarray, shape (4, 4), or None
        The two affines of the header as stored; None where the code is 0.
    qform_code, sform_code : int
        Their NIfTI codes.
    space_unit, time_unit : str
        Units as the header names them (``"mm"``, ``"sec"``, ``"unknown"`` …).
    """

    shape: tuple[int, int, int]
    orientation: NDArray[np.float64]
    zooms: tuple[float, float, float]
    qform: NDArray[np.float64] | None
    sform: NDArray[np.float64] | None
    qform_code: int
    sform_code: int
    space_unit: str
    time_unit: str


@dataclass(frozen=True)
class Volume:
    """A 3D array in space: a map, a mask or one time point.

    Parameters
    ----------
    array : ndarray, shape (x, y, z)
        Values; float for maps, bool or integer for masks and labels.
    affine : ndarray, shape (4, 4)
        Voxel indices to RAS+ millimetres.
    quantity : str
        Identifier from `perfmap.quantities`, or ``""``.
    """

    array: NDArray[np.generic]
    affine: NDArray[np.float64]
    quantity: str = ""

    def __post_init__(self) -> None:
        _check_geometry(self.array, self.affine, n_axes=3, what="volume")

    @property
    def shape(self) -> tuple[int, ...]:
        """Matrix (x, y, z)."""
        return tuple(self.array.shape)


@dataclass(frozen=True)
class Series:
    """A DSC-MRI series: signal over space and time.

    Parameters
    ----------
    signal : ndarray, float32, shape (x, y, z, t)
        Signal intensity, arbitrary unit.
    affine : ndarray, shape (4, 4)
        Voxel indices to RAS+ millimetres.
    time_step : float
        Interval between two volumes, s.
    repetition_time : float
        Time between two excitations of the same slice, s. Equal to `time_step` in single-shot sequences.
    echo_time : float or None
        Echo time, s; None where nobody knows it. Relative maps do not need it.
    flip_angle : float or None
        Nominal flip angle, degrees; None where nobody knows it.
    field_strength : float or None
        T; None where nobody knows it.
    grid : Grid or None
        Grid of the file the series was read from; None for a series that comes from no file.
    notes : tuple of str
        What the reader had to decide or to warn about, one sentence each.

    Raises
    ------
    InputError
        If the array is not 4D, is empty, or a number of the protocol is not positive and finite.
    """

    signal: FloatArray
    affine: NDArray[np.float64]
    time_step: float
    repetition_time: float
    echo_time: float | None = None
    flip_angle: float | None = None
    field_strength: float | None = None
    grid: Grid | None = None
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        _check_geometry(self.signal, self.affine, n_axes=4, what="series")
        for name in ("time_step", "repetition_time", "echo_time"):
            value = getattr(self, name)
            if value is None and name == "echo_time":
                continue
            if not (np.isfinite(value) and value > 0):
                option = "--" + name.replace("_", "-")
                raise InputError(
                    f"{name} is {value}, wanted a positive number of seconds; give it with {option}"
                )
        for name, most, unit in (("flip_angle", 180.0, "degrees"), ("field_strength", np.inf, "T")):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and 0 < value <= most):
                raise InputError(f"{name} is {value}, wanted a positive number of {unit}, or None")

    @property
    def n_times(self) -> int:
        """Number of volumes."""
        return int(self.signal.shape[3])

    @property
    def time(self) -> NDArray[np.float64]:
        """Time of each volume, s, first volume at 0. Shape (t,)."""
        return np.arange(self.n_times, dtype=np.float64) * self.time_step


def _check_geometry(
    array: NDArray[np.generic], affine: NDArray[np.float64], *, n_axes: int, what: str
) -> None:
    if array.ndim != n_axes:
        raise InputError(f"{what} has shape {tuple(array.shape)}, wanted exactly {n_axes} axes")
    if array.size == 0:
        raise InputError(f"{what} has shape {tuple(array.shape)}, so it holds no voxel")
    if np.shape(affine) != (4, 4) or not np.isfinite(affine).all():
        raise InputError(f"affine of the {what} is not a finite 4 × 4 matrix; mend the header")
    if abs(np.linalg.det(np.asarray(affine, dtype=float)[:3, :3])) < 1e-9:
        raise InputError(f"affine of the {what} has no volume (determinant 0); mend the header")
