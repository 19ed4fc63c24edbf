"""The matrix that a scanner acquired, as a header or a sidecar tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from perfmap.preprocess.acquired_grid import WorkingGrid, working_grid
from perfmap.series import Series

_LEAST, _MOST = 1.1, 4.2
"""Factors between which an interpolation is undone; below it is not worth it, above it is not believed."""
_AXES = {"i": 0, "j": 1, "COL": 1, "COLUMN": 1, "ROW": 0}


def as_acquired(sidecar: Mapping[str, Any], series: Series, second_echo: Series | None = None) -> WorkingGrid:
    """A series, and the later echo that goes with it, on the matrix that was acquired, with a note of any doubt.

    Parameters
    ----------
    sidecar : mapping
        See `acquired_matrix`.
    series : Series
        As it was read from the file.
    second_echo : Series, optional

    Returns
    -------
    WorkingGrid
    """
    grid = working_grid(series, acquired_matrix(sidecar, series), second_echo)
    told = _encoding(sidecar)
    if grid.note or told is None or told[0] is not None or series.grid is None:
        return grid
    n_stored = min(series.grid.shape[:2]) if told[2] is None else series.grid.shape[told[2]]
    if n_stored < _LEAST * told[1]:
        return grid
    note = (
        f"{told[1]} phase steps are told for {n_stored} voxels, but not how many were read; whether the images are "
        "interpolated is not known, and they are left as stored"
    )
    return replace(grid, note=note)


def acquired_matrix(sidecar: Mapping[str, Any], series: Series) -> tuple[int, int, int] | None:
    """Matrix (x, y, z) that was acquired, where the images of a file were interpolated from it in plane.

    Parameters
    ----------
    sidecar : mapping
        In the keys of dcm2niix and BIDS, or with DICOM's AcquisitionMatrix as four numbers.
    series : Series
        As it was read from the file.

    Returns
    -------
    tuple of int, or None
        None where the file's own matrix was acquired, or nobody knows; see `acquired_in_plane`.
    """
    grid = series.grid
    if grid is None or grid.zooms[2] < 0.99 * max(grid.zooms[:2]):
        return None  # slices are not stacked along the third axis: axes were swapped, and the sidecar's are others
    found = acquired_in_plane(sidecar, (grid.shape[0], grid.shape[1]), (grid.zooms[0], grid.zooms[1]))
    if found is None:
        return None
    shape = [0, 0, 0]
    for axis, n_voxels in enumerate((*found, grid.shape[2])):
        shape[int(grid.orientation[axis, 0])] = n_voxels
    return shape[0], shape[1], shape[2]


def acquired_in_plane(
    sidecar: Mapping[str, Any], shape: tuple[int, int], edges: tuple[float, float]
) -> tuple[int, int] | None:
    """Columns and rows that were acquired: square pixels of the finer of the two acquired sizes.

    Such pixels are what a scanner makes without interpolation. They lose nothing where fewer phase steps were taken
    (phase resolution, partial Fourier, parallel imaging), for the reading direction sets the size then; and nothing
    where the field of view was cut in the phase direction, for the steps are spread over that part of it alone.

    Parameters
    ----------
    sidecar : mapping
    shape : tuple of int
        Columns and rows of the images.
    edges : tuple of float
        Their distances, mm.

    Returns
    -------
    tuple of int, or None
        None where the images are not interpolated, or what is said does not fit together.
    """
    told = _encoding(sidecar)
    if told is None:
        return None
    n_read, n_phase, axis = told
    if n_read is None:
        return None  # phase steps alone may be few by resolution or parallel imaging
    extent = (shape[0] * edges[0], shape[1] * edges[1])
    stored_phase = _count(sidecar.get("ReconMatrixPE"))
    if stored_phase and stored_phase not in ((shape[axis],) if axis is not None else shape):
        return None  # the file was resampled after it was converted
    if axis is None:
        axis = 1
        if abs(extent[0] - extent[1]) > 0.01 * extent[0]:
            return None
    field_of_view, cut = extent[axis], _number(sidecar.get("PercentPhaseFOV"))
    if cut and cut < 100:
        field_of_view = min(field_of_view, extent[1 - axis] * cut / 100)
    pixel = min(field_of_view / n_phase, extent[1 - axis] / n_read)
    found = [shape[0], shape[1]]
    for plane in (0, 1):
        factor = pixel / edges[plane]
        if factor > _MOST:
            return None
        if factor >= _LEAST:
            found[plane] = round(extent[plane] / pixel)
    return None if tuple(found) == shape else (found[0], found[1])


def _encoding(sidecar: Mapping[str, Any]) -> tuple[int | None, int, int | None] | None:
    """Steps read (None: unknown) and phase steps, and the phase's axis (0 columns, 1 rows, None: unknown)."""
    said = sidecar.get("InPlanePhaseEncodingDirectionDICOM")
    said = said or sidecar.get("PhaseEncodingDirection") or sidecar.get("PhaseEncodingAxis")
    axis = _AXES.get(str(said).rstrip("+-")) if said else None
    if said and axis is None:
        return None
    laid_out = _laid_out(sidecar.get("AcquisitionMatrix"))
    n_phase = _count(sidecar.get("AcquisitionMatrixPE"))
    n_read = _count(sidecar.get("BaseResolution")) or _count(sidecar.get("FrequencyEncodingSteps"))
    if n_phase and n_read:
        return n_read, n_phase, axis
    if laid_out and n_phase in (None, laid_out[1]) and axis in (None, laid_out[2]):
        return laid_out
    return (None, n_phase, axis) if n_phase else None


def _laid_out(matrix: Any) -> tuple[int, int, int] | None:
    """Steps read, phase steps and their axis by DICOM's frequency rows, frequency columns, phase rows, phase columns.

    Scanners count a direction under the other name: frequency rows and phase columns (64, 0, 0, 64) where the phase
    runs along columns (COL).
    """
    counts = [_count(value) or 0 for value in matrix] if isinstance(matrix, list) else []
    if len(counts) != 4:
        return None
    for read, phase, axis in ((0, 3, 1), (1, 2, 0)):
        if counts[read] and counts[phase] and not (counts[1 - read] or counts[5 - phase]):
            return counts[read], counts[phase], axis
    return None


def _number(value: Any) -> float | None:
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e6
        else None
    )


def _count(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number and number == int(number) else None
