"""A map brought onto the slices of its DICOM source, by position in the patient and never by index."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from perfmap.errors import InputError
from perfmap.io.dicom_source import LPS_TO_RAS, DicomSource
from perfmap.series import Volume

MAX_OFFSET = 0.05
"""Farthest that a pixel may lie from the centre of a voxel, in voxels: maps are moved, not resampled."""


def slice_affine(source: DicomSource, k: int) -> NDArray[np.float64]:
    """Pixel (row, column, 0, 1) of slice `k` to RAS+ mm. Shape (4, 4)."""
    along_row, along_column = np.reshape(source.orientation, (2, 3))
    affine = np.eye(4)
    affine[:3, 0] = along_column * source.pixel_spacing[0]
    affine[:3, 1] = along_row * source.pixel_spacing[1]
    affine[:3, 3] = source.slices[k].position
    return LPS_TO_RAS @ affine


def sample_on_slices(volume: Volume, source: DicomSource) -> NDArray[np.generic]:
    """Values of a volume at the pixels of its source's slices.

    Parameters
    ----------
    volume : Volume
        On the grid of the source, in any order and direction of axes.
    source : DicomSource

    Returns
    -------
    ndarray, shape (slices, rows, columns)
        Of the volume's type.

    Raises
    ------
    InputError
        If a pixel lies between voxels, or outside of the volume.
    """
    to_voxels = np.linalg.inv(volume.affine)
    rows, columns = np.mgrid[: source.rows, : source.columns]
    pixels = np.stack([rows, columns, np.zeros_like(rows), np.ones_like(rows)]).reshape(4, -1)
    slices = []
    for k in range(len(source.slices)):
        voxels = (to_voxels @ slice_affine(source, k) @ pixels)[:3]
        nearest = np.rint(voxels).astype(int)
        offset = float(np.abs(voxels - nearest).max())
        if offset > MAX_OFFSET:
            raise InputError(
                f"slice {k + 1} of the DICOM source lies {offset:.2f} voxels off the grid of the map, wanted at most "
                f"{MAX_OFFSET}; predict from the DICOM series itself, without resampling"
            )
        if (nearest < 0).any() or (nearest >= np.reshape(volume.shape, (3, 1))).any():
            raise InputError(
                f"slice {k + 1} of the DICOM source reaches outside of the map ({volume.shape} voxels); "
                "predict from the DICOM series itself"
            )
        slices.append(volume.array[tuple(nearest)].reshape(source.rows, source.columns))
    return np.stack(slices)
