"""Images that the scanner interpolated in plane, brought back to the grid that it acquired, and maps on the way back.

Scanners interpolate by padding k-space with zeros. Cutting the padding off again loses nothing, and gives pixels whose
noise is independent and as many as were measured. Slices are left alone: nothing is interpolated across gaps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample

from perfmap.errors import InputError
from perfmap.series import FloatArray, Series, Volume


@dataclass(frozen=True)
class WorkingGrid:
    """A series as it is computed on, and the way between its grid and the stored one.

    Both grids share the last voxel in RAS+: in the usual display of a slice that is the first pixel, and padding with
    zeros leaves the first sample in its place.

    Attributes
    ----------
    series : Series
        On the acquired grid, or as it was stored.
    stored_shape : tuple of int
        Matrix (x, y, z) that the series was stored in.
    stored_affine : ndarray, shape (4, 4)
    second_echo : Series, optional
        The later echo, on the grid of `series`.
    note : str
        What was done; empty where nothing was.
    """

    series: Series
    stored_shape: tuple[int, int, int]
    stored_affine: NDArray[np.float64]
    second_echo: Series | None = None
    note: str = ""

    @property
    def is_stored(self) -> bool:
        """Whether the series is computed on as it was stored."""
        return self.series.signal.shape[:3] == self.stored_shape

    def mask(self, mask: NDArray[np.bool_], name: str, *, share: float = 0.5) -> NDArray[np.bool_]:
        """A mask of the stored grid on this one: voxels of which at least `share`, and something, is in the mask.

        Raises
        ------
        InputError
            If nothing is left of it; `name` says of what.
        """
        if self.is_stored:
            return mask
        part = self._along_axes(mask.astype(np.float64), _share_of_pixels, self.series.signal.shape[:3])
        found = np.asarray((part > 1e-6) & (part >= share - 1e-6))
        if mask.any() and not found.any():
            raise InputError(
                f"{name} is too small for the acquired grid of {_by(found.shape)} voxels, on which the map of these "
                "interpolated images is computed; give a larger one, or compute as stored with --grid stored"
            )
        return found

    def labels(self, volume: Volume) -> Volume:
        """Labels of this grid on the stored one, each voxel that of its nearest."""
        if self.is_stored:
            return volume
        array = volume.array
        for axis, (n_from, n_to) in enumerate(zip(array.shape, self.stored_shape, strict=True)):
            array = np.take(array, _nearest(n_to, n_from), axis=axis)
        return Volume(array, self.stored_affine, volume.quantity)

    def values(self, volume: Volume, valid: NDArray[np.bool_]) -> Volume:
        """A map of this grid on the stored one, linear in plane between voxels that have a reading.

        Parameters
        ----------
        volume : Volume
            On the grid of `series`.
        valid : ndarray of bool, shape (x, y, z)
            Voxels of it that have a reading. Around each that has none its value is kept, as `labels` would.
        """
        if self.is_stored:
            return volume
        weight = self._along_axes(valid.astype(np.float64), _linear, self.stored_shape)
        total = self._along_axes(
            np.where(valid, volume.array, 0).astype(np.float64), _linear, self.stored_shape
        )
        nearest = self.labels(volume).array
        inside = self.labels(Volume(valid, volume.affine)).array.astype(bool)
        array = np.where(inside, total / np.where(inside, weight, 1.0), nearest)
        return Volume(array.astype(volume.array.dtype), self.stored_affine, volume.quantity)

    @staticmethod
    def _along_axes(
        array: NDArray[np.float64],
        matrix_of: Callable[[int, int], NDArray[np.float64]],
        shape: tuple[int, ...],
    ) -> NDArray[np.float64]:
        for axis, (n_from, n_to) in enumerate(zip(array.shape, shape, strict=True)):
            if n_from != n_to:
                array = np.moveaxis(np.tensordot(matrix_of(n_from, n_to), array, axes=(1, axis)), 0, axis)
        return array


def working_grid(
    series: Series, acquired: tuple[int, int, int] | None, second_echo: Series | None = None
) -> WorkingGrid:
    """Bring a series in plane to the matrix that was acquired.

    Parameters
    ----------
    series : Series
    acquired : tuple of int, or None
        Matrix (x, y, z), nowhere more than is stored; None leaves the series as it is. So do values that are not
        finite: they would spread over whole slices.
    second_echo : Series, optional
        The later echo of the same images; both are brought to the matrix, or neither is.

    Returns
    -------
    WorkingGrid
    """
    shape = series.signal.shape[:3]
    stored = (int(shape[0]), int(shape[1]), int(shape[2]))
    as_stored = WorkingGrid(series, stored, series.affine, second_echo)
    if acquired is None or acquired == stored:
        return as_stored
    if second_echo is not None and second_echo.signal.shape != series.signal.shape:
        return as_stored  # whoever computes on them refuses them by the shapes that are stored
    said = f"the images are interpolated: {_named(stored, acquired)}"
    cropped = _cropped(series, acquired)
    second = None if second_echo is None or cropped is None else _cropped(second_echo, acquired)
    if cropped is None or (second is None) != (second_echo is None):
        return replace(as_stored, note=f"{said}; they are left so, for some of their values are not finite")
    note = f"{said}; the map is computed on the acquired grid and written on that of the input"
    return replace(as_stored, series=cropped, second_echo=second, note=note)


def _named(stored: tuple[int, ...], acquired: tuple[int, ...]) -> str:
    return f"{_by(stored)} voxels from {_by(acquired)} acquired"


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _cropped(series: Series, shape: tuple[int, ...]) -> Series | None:
    """A series with the outer parts of its spatial frequencies cut off, so that `shape` voxels are left.

    None where a value is not finite.
    """
    signal: FloatArray = np.empty((series.n_times, *reversed(shape)), dtype=np.float32).T
    for t in range(series.n_times):
        volume = series.signal[..., t]
        if not np.isfinite(volume).all():
            return None
        low, mirrored = volume.min(), volume[::-1, ::-1, ::-1]  # the shared voxel first
        for axis, n_voxels in enumerate(shape):
            if n_voxels != mirrored.shape[axis]:
                mirrored = resample(mirrored, n_voxels, axis=axis)
        signal[..., t] = np.maximum(mirrored[::-1, ::-1, ::-1], low)  # no magnitude rings below the smallest
    ratio = np.divide(series.signal.shape[:3], shape)
    to_stored = np.diag([*ratio, 1.0])
    to_stored[:3, 3] = ratio - 1.0
    return replace(series, signal=signal, affine=series.affine @ to_stored, grid=None)


def _positions(n_to: int, n_from: int) -> NDArray[np.float64]:
    """Where the voxels of one grid lie on another, the last voxels in one place."""
    return n_from - 1 - np.arange(n_to, dtype=np.float64)[::-1] * (n_from / n_to)


def _nearest(n_to: int, n_from: int) -> NDArray[np.int64]:
    # Half way between two, the one nearer to the shared voxel; a hair keeps rounding out of it.
    return np.clip(np.floor(_positions(n_to, n_from) + 0.5 + 1e-9).astype(np.int64), 0, n_from - 1)


def _linear(n_from: int, n_to: int) -> NDArray[np.float64]:
    position = np.clip(_positions(n_to, n_from), 0, n_from - 1)
    return np.maximum(1.0 - np.abs(position[:, None] - np.arange(n_from)), 0.0)


def _share_of_pixels(n_from: int, n_to: int) -> NDArray[np.float64]:
    """Mean over the fine voxels that are nearest to a coarse one. Shape (n_to, n_from)."""
    belongs = _nearest(n_from, n_to) == np.arange(n_to)[:, None]
    return np.asarray(belongs / np.maximum(belongs.sum(axis=1, keepdims=True), 1), dtype=np.float64)
