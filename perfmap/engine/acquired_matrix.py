"""The matrix that a scanner acquired, as a header or a sidecar tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perfmap.series import Series

_LEAST, _MOST = 1.1, 4.2
"""Factors between which an interpolation is undone; below it is not worth it, above it is not believed."""
_PLAIN = 1.5
"""From this factor on, phase steps alone are believed: without a word, half of them are not left out."""
_AXES = {"i": 0, "j": 1, "COL": 1, "COLUMN": 1, "ROW": 0}


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
    pixel = field_of_view / n_phase
    if n_read:
        pixel = min(pixel, extent[1 - axis] / n_read)
    elif sampled := _number(sidecar.get("PercentSampling")):
        pixel *= min(sampled, 100) / 100
    elif pixel < _PLAIN * edges[axis]:
        return None
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
    matrix = sidecar.get("AcquisitionMatrix")
    if matrix is not None:
        counts = [_count(value) or 0 for value in matrix] if isinstance(matrix, list) else []
        if len(counts) != 4:
            return None
        read_rows, read_columns, phase_rows, phase_columns = counts
        if read_columns and phase_rows and not (read_rows or phase_columns):
            n_read, n_phase, laid_out = read_columns, phase_rows, 1
        elif read_rows and phase_columns and not (read_columns or phase_rows):
            n_read, n_phase, laid_out = read_rows, phase_columns, 0
        else:
            return None
        return (n_read, n_phase, laid_out) if axis in (None, laid_out) else None
    phase = _count(sidecar.get("AcquisitionMatrixPE"))
    if phase is None:
        return None
    return _count(sidecar.get("BaseResolution")) or _count(sidecar.get("FrequencyEncodingSteps")), phase, axis


def _number(value: Any) -> float | None:
    return (
        float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e6
        else None
    )


def _count(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number and number == int(number) else None
