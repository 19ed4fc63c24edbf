"""What headers say of the acquired matrix, in all the ways they say it, and in those that must not be believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from perfmap.engine.acquired_matrix import acquired_in_plane, acquired_matrix
from perfmap.io.nifti_header import ras_grid
from perfmap.series import Series

SQUARE = ((256, 256), (0.9, 0.9))  # field of view 230.4 mm


@pytest.mark.parametrize(
    ("sidecar", "image", "found"),
    [
        # DICOM: frequency rows, frequency columns, phase rows, phase columns
        ({"AcquisitionMatrix": [0, 128, 128, 0]}, SQUARE, (128, 128)),
        ({"AcquisitionMatrix": [128, 0, 0, 128]}, SQUARE, (128, 128)),
        (
            {"AcquisitionMatrix": [128, 0, 0, 128], "InPlanePhaseEncodingDirectionDICOM": "ROW"},
            SQUARE,
            (128, 128),
        ),
        ({"AcquisitionMatrix": [0, 96, 95, 0]}, ((128, 128), (1.8, 1.8)), (96, 96)),
        # fewer phase steps (resolution, partial Fourier, parallel imaging) do not make pixels coarser than those read
        ({"AcquisitionMatrix": [0, 128, 64, 0]}, SQUARE, (128, 128)),
        ({"AcquisitionMatrix": [0, 256, 128, 0]}, SQUARE, None),
        ({"AcquisitionMatrix": [0, 128, 80, 0]}, ((128, 128), (1.8, 1.8)), None),
        # rectangular images, as the cut field of view they have
        ({"AcquisitionMatrix": [0, 128, 96, 0]}, ((256, 192), (0.9, 0.9)), (128, 96)),
        ({"AcquisitionMatrix": [96, 0, 0, 72]}, ((144, 192), (1.2, 1.2)), (72, 96)),
        ({"AcquisitionMatrix": [0, 128, 96, 0], "PercentPhaseFOV": 75.0}, ((256, 192), (0.9, 0.9)), (128, 96)),
        # a cut field of view in an image that was made square: the steps cover a part of it, and nothing is lost
        ({"AcquisitionMatrix": [0, 128, 96, 0], "PercentPhaseFOV": 75.0}, SQUARE, (128, 128)),
        ({"AcquisitionMatrix": [0, 128, 128, 0], "PercentPhaseFOV": 75.0}, SQUARE, (171, 171)),
        # the same said by dcm2niix
        ({"AcquisitionMatrixPE": 128, "ReconMatrixPE": 256, "BaseResolution": 128}, SQUARE, (128, 128)),
        ({"AcquisitionMatrixPE": 64, "ReconMatrixPE": 256, "FrequencyEncodingSteps": 128}, SQUARE, (128, 128)),
        ({"AcquisitionMatrixPE": 128, "ReconMatrixPE": 256}, SQUARE, (128, 128)),
        ({"AcquisitionMatrixPE": 128, "PercentSampling": 80, "ReconMatrixPE": 256}, SQUARE, (160, 160)),
        (
            {"AcquisitionMatrixPE": 96, "PhaseEncodingDirection": "j-", "BaseResolution": 128},
            ((256, 192), (0.9, 0.9)),
            (128, 96),
        ),
        # nothing said, or not enough
        ({}, SQUARE, None),
        ({"AcquisitionMatrixPE": 200, "ReconMatrixPE": 256}, SQUARE, None),  # phase resolution may explain it
        ({"AcquisitionMatrixPE": 96}, ((256, 192), (0.9, 0.9)), None),  # which axis?
        ({"AcquisitionMatrix": [0, 250, 250, 0]}, SQUARE, None),  # not worth it
        # what cannot be true
        ({"AcquisitionMatrix": [0, 0, 0, 0]}, SQUARE, None),
        ({"AcquisitionMatrix": [128, 128, 128, 128]}, SQUARE, None),
        ({"AcquisitionMatrix": [128, 128, 0, 0]}, SQUARE, None),
        ({"AcquisitionMatrix": [128, 128]}, SQUARE, None),
        ({"AcquisitionMatrix": "128"}, SQUARE, None),
        ({"AcquisitionMatrix": [0, 8, 8, 0]}, SQUARE, None),
        ({"AcquisitionMatrix": [0, 128, 128, 0], "InPlanePhaseEncodingDirectionDICOM": "ROW"}, SQUARE, None),
        ({"AcquisitionMatrix": [0, 128, 128, 0], "InPlanePhaseEncodingDirectionDICOM": "OTHER"}, SQUARE, None),
        ({"AcquisitionMatrixPE": 64, "ReconMatrixPE": 128, "BaseResolution": 64}, SQUARE, None),  # was resampled
        ({"AcquisitionMatrixPE": True, "BaseResolution": float("nan")}, SQUARE, None),
    ],
)  # fmt: skip
def test_matrix_in_plane(sidecar: dict[str, Any], image: Any, found: tuple[int, int] | None) -> None:
    assert acquired_in_plane(sidecar, *image) == found


def series_in(shape: tuple[int, int, int], affine: np.ndarray) -> Series:
    signal = np.ones((*shape, 1), dtype=np.float32)
    return Series(signal, affine, time_step=1.5, repetition_time=1.5, grid=ras_grid(shape, affine))


def test_columns_and_rows_of_the_file_become_axes_of_the_patient() -> None:
    sidecar = {"AcquisitionMatrix": [0, 64, 48, 0]}
    sagittal = series_in((5, 128, 96), np.diag([5.0, 1.5, 1.5, 1.0]))
    assert sagittal.grid is not None
    # The file's axes: columns to the back, rows to the head, slices to the right.
    orientation = np.array([[1, -1], [2, 1], [0, 1]], dtype=float)
    grid = replace(sagittal.grid, shape=(128, 96, 5), zooms=(1.5, 1.5, 5.0), orientation=orientation)
    assert acquired_matrix(sidecar, replace(sagittal, grid=grid)) == (5, 64, 48)


def test_file_whose_axes_were_swapped_is_left_alone() -> None:
    swapped = series_in((128, 5, 96), np.diag([1.5, 5.0, 1.5, 1.0]))
    assert acquired_matrix({"AcquisitionMatrix": [0, 64, 48, 0]}, swapped) is None
    assert acquired_matrix({"AcquisitionMatrix": [0, 64, 48, 0]}, replace(swapped, grid=None)) is None
