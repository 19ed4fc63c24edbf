"""What headers say of the acquired matrix, in all the ways they say it, and in those that must not be believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from perfmap.engine.acquired_matrix import acquired_in_plane, acquired_matrix, as_acquired
from perfmap.io.dicom_frames import encoding_of
from perfmap.io.nifti_header import ras_grid
from perfmap.series import Series

SQUARE = ((256, 256), (0.9, 0.9))  # field of view 230.4 mm


@pytest.mark.parametrize(
    ("sidecar", "image", "found"),
    [
        # DICOM: frequency rows, frequency columns, phase rows, phase columns; (n, 0, 0, m) is the phase along columns
        ({"AcquisitionMatrix": [128, 0, 0, 128]}, SQUARE, (128, 128)),
        ({"AcquisitionMatrix": [0, 128, 128, 0]}, SQUARE, (128, 128)),
        (
            {"AcquisitionMatrix": [0, 128, 128, 0], "InPlanePhaseEncodingDirectionDICOM": "ROW"},
            SQUARE,
            (128, 128),
        ),
        ({"AcquisitionMatrix": [96, 0, 0, 95]}, ((128, 128), (1.8, 1.8)), (96, 96)),
        (
            {"AcquisitionMatrix": [128, 0, 0, 128], "InPlanePhaseEncodingDirectionDICOM": "COL"},
            SQUARE,
            (128, 128),
        ),
        # fewer phase steps (resolution, partial Fourier, parallel imaging) do not make pixels coarser than those read
        ({"AcquisitionMatrix": [128, 0, 0, 64]}, SQUARE, (128, 128)),
        ({"AcquisitionMatrix": [256, 0, 0, 128]}, SQUARE, None),
        ({"AcquisitionMatrix": [128, 0, 0, 80]}, ((128, 128), (1.8, 1.8)), None),
        # rectangular images, as the cut field of view they have
        ({"AcquisitionMatrix": [128, 0, 0, 96]}, ((256, 192), (0.9, 0.9)), (128, 96)),
        ({"AcquisitionMatrix": [0, 96, 72, 0]}, ((144, 192), (1.2, 1.2)), (72, 96)),
        ({"AcquisitionMatrix": [128, 0, 0, 96], "PercentPhaseFOV": 75.0}, ((256, 192), (0.9, 0.9)), (128, 96)),
        # a cut field of view in an image that was made square: the steps cover a part of it, and nothing is lost
        ({"AcquisitionMatrix": [128, 0, 0, 96], "PercentPhaseFOV": 75.0}, SQUARE, (128, 128)),
        ({"AcquisitionMatrix": [128, 0, 0, 128], "PercentPhaseFOV": 75.0}, SQUARE, (171, 171)),
        # the same said by dcm2niix
        ({"AcquisitionMatrixPE": 128, "ReconMatrixPE": 256, "BaseResolution": 128}, SQUARE, (128, 128)),
        ({"AcquisitionMatrixPE": 64, "ReconMatrixPE": 256, "FrequencyEncodingSteps": 128}, SQUARE, (128, 128)),
        (
            {"AcquisitionMatrixPE": 96, "PhaseEncodingDirection": "j-", "BaseResolution": 128},
            ((256, 192), (0.9, 0.9)),
            (128, 96),
        ),
        # dcm2niix beside DICOM's matrix, which helps where both agree and is passed over where not
        ({"AcquisitionMatrixPE": 116, "AcquisitionMatrix": [128, 0, 0, 116]}, SQUARE, (128, 128)),
        (
            {"AcquisitionMatrixPE": 96, "BaseResolution": 128, "AcquisitionMatrix": [0, 64, 64, 0]},
            SQUARE,
            (128, 128),
        ),
        ({"AcquisitionMatrixPE": 96, "AcquisitionMatrix": [64, 0, 0, 64]}, SQUARE, None),
        # nothing said, or not enough: few phase steps may be phase resolution or parallel imaging
        ({}, SQUARE, None),
        ({"AcquisitionMatrixPE": 116, "ReconMatrixPE": 256}, SQUARE, None),
        ({"AcquisitionMatrixPE": 64, "ReconMatrixPE": 128}, ((128, 128), (1.8, 1.8)), None),
        ({"AcquisitionMatrixPE": 116, "PercentSampling": 100, "ReconMatrixPE": 256}, SQUARE, None),
        ({"AcquisitionMatrixPE": 96}, ((256, 192), (0.9, 0.9)), None),  # which axis?
        ({"AcquisitionMatrix": [250, 0, 0, 250]}, SQUARE, None),  # not worth it
        # what cannot be true
        ({"AcquisitionMatrix": [0, 0, 0, 0]}, SQUARE, None),
        ({"AcquisitionMatrix": [128, 128, 128, 128]}, SQUARE, None),
        ({"AcquisitionMatrix": [128, 128, 0, 0]}, SQUARE, None),
        ({"AcquisitionMatrix": [128, 128]}, SQUARE, None),
        ({"AcquisitionMatrix": "128"}, SQUARE, None),
        ({"AcquisitionMatrix": [8, 0, 0, 8]}, SQUARE, None),
        ({"AcquisitionMatrix": [128, 0, 0, 128], "InPlanePhaseEncodingDirectionDICOM": "ROW"}, SQUARE, None),
        ({"AcquisitionMatrix": [128, 0, 0, 128], "InPlanePhaseEncodingDirectionDICOM": "OTHER"}, SQUARE, None),
        ({"AcquisitionMatrixPE": 64, "ReconMatrixPE": 128, "BaseResolution": 64}, SQUARE, None),  # was resampled
        ({"AcquisitionMatrixPE": True, "BaseResolution": float("nan")}, SQUARE, None),
    ],
)  # fmt: skip
def test_matrix_in_plane(sidecar: dict[str, Any], image: Any, found: tuple[int, int] | None) -> None:
    assert acquired_in_plane(sidecar, *image) == found


def test_header_of_a_siemens_scanner() -> None:
    path = get_testdata_file("examples_overlay.dcm", download=False)
    data = pydicom.dcmread(str(path), stop_before_pixels=True)
    assert (list(data.AcquisitionMatrix), data.InPlanePhaseEncodingDirection) == ([256, 0, 0, 134], "COL")
    edges = (data.PixelSpacing[1], data.PixelSpacing[0])
    # 484 columns of 0.723 mm are 350 mm, read in 256 steps of 1.367 mm; 300 rows are 217 mm
    assert acquired_in_plane(encoding_of(data), (data.Columns, data.Rows), edges) == (256, 159)


@pytest.mark.parametrize(
    ("direction", "found"), [("COLUMN", [64, 0, 0, 48]), ("ROW", [0, 64, 48, 0]), ("OTHER", None), (None, None)]
)  # fmt: skip
def test_enhanced_header_is_laid_out_as_classic_ones_are(
    direction: str | None, found: list[int] | None
) -> None:
    geometry, shared, data = Dataset(), Dataset(), Dataset()
    if direction:
        geometry.InPlanePhaseEncodingDirection = direction
    geometry.MRAcquisitionFrequencyEncodingSteps = 64
    geometry.MRAcquisitionPhaseEncodingStepsInPlane = 48
    shared.MRFOVGeometrySequence = [geometry]
    data.SharedFunctionalGroupsSequence = [shared]
    assert encoding_of(data).get("AcquisitionMatrix") == found


def series_in(shape: tuple[int, int, int], affine: np.ndarray) -> Series:
    signal = np.ones((*shape, 1), dtype=np.float32)
    return Series(signal, affine, time_step=1.5, repetition_time=1.5, grid=ras_grid(shape, affine))


def test_columns_and_rows_of_the_file_become_axes_of_the_patient() -> None:
    sidecar = {"AcquisitionMatrix": [64, 0, 0, 48]}
    sagittal = series_in((5, 128, 96), np.diag([5.0, 1.5, 1.5, 1.0]))
    assert sagittal.grid is not None
    # The file's axes: columns to the back, rows to the head, slices to the right.
    orientation = np.array([[1, -1], [2, 1], [0, 1]], dtype=float)
    grid = replace(sagittal.grid, shape=(128, 96, 5), zooms=(1.5, 1.5, 5.0), orientation=orientation)
    assert acquired_matrix(sidecar, replace(sagittal, grid=grid)) == (5, 64, 48)


def test_file_whose_axes_were_swapped_is_left_alone() -> None:
    swapped = series_in((128, 5, 96), np.diag([1.5, 5.0, 1.5, 1.0]))
    assert acquired_matrix({"AcquisitionMatrix": [64, 0, 0, 48]}, swapped) is None
    assert acquired_matrix({"AcquisitionMatrix": [64, 0, 0, 48]}, replace(swapped, grid=None)) is None


def test_phase_steps_alone_leave_the_images_as_stored_and_say_so() -> None:
    series = series_in((128, 128, 3), np.diag([1.8, 1.8, 5.0, 1.0]))
    grid = as_acquired({"AcquisitionMatrixPE": 64}, series)
    assert grid.series is series
    assert "64 phase steps are told for 128 voxels, but not how many were read" in grid.note
    for sidecar in ({}, {"AcquisitionMatrixPE": 128}, {"AcquisitionMatrixPE": 64, "BaseResolution": 128}):
        assert as_acquired(sidecar, series).note == ""
