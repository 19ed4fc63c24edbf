"""A map as a derived MR Image Storage series: 16 bit, measurable, opens everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage
from pydicom.valuerep import DSfloat

from perfmap.errors import InputError
from perfmap.io.dicom_out_codes import quantity_items, unit_item, window_of
from perfmap.io.dicom_out_flat import source_headers
from perfmap.io.dicom_out_grid import sample_on_slices
from perfmap.io.dicom_out_header import (
    DerivedMap,
    base_header,
    make_file_ready,
    place_slice,
    series_number,
)
from perfmap.io.dicom_out_modules import copy_contrast, copy_elements
from perfmap.io.dicom_source import DicomSource

STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
"""Quantisation steps; the finest that holds the map's largest value is taken."""
_LARGEST = 32767
_SEQUENCE = [
    "SequenceName",
    "EchoTime",
    "EchoTrainLength",
    "RepetitionTime",
    "FlipAngle",
    "MagneticFieldStrength",
    "ImagingFrequency",
    "ImagedNucleus",
    "NumberOfAverages",
    "PixelBandwidth",
    "PercentSampling",
    "PercentPhaseFieldOfView",
    "AcquisitionMatrix",
    "InPlanePhaseEncodingDirection",
    "SliceThickness",
    "SpacingBetweenSlices",
    "EchoNumbers",
    "NumberOfPhaseEncodingSteps",
    "ReceiveCoilName",
    "TransmitCoilName",
]


def mr_series(source: DicomSource, made: DerivedMap) -> Iterator[Dataset]:
    """Objects of the series, one a slice, in the order of the source's slices.

    Value = stored × RescaleSlope; a voxel without a reading holds PixelPaddingValue, which is one step below
    the smallest reading: a viewer that does not know of padding shows it about as 0.

    Parameters
    ----------
    source : DicomSource
    made : DerivedMap

    Raises
    ------
    InputError
        If map and source do not share their grid, or a value does not fit 16 bit.
    """
    low, high = window_of(made.volume.quantity)
    values = sample_on_slices(made.volume, source).astype(np.float64)
    valid = sample_on_slices(made.valid_volume, source).astype(bool)
    stored, padding, step = quantise(values, valid)
    headers = source_headers(source)
    number = series_number(headers[0], "mr", made)
    for k, header in enumerate(headers):
        image = base_header(source, header, made, "mr", k=k, number=number)
        image.SOPClassUID = MRImageStorage
        image.ImageType = ["DERIVED", "PRIMARY", "PERFUSION", "RCBV"]
        _add_sequence(image, header)
        copy_contrast(header, image)
        place_slice(image, source, k)
        image.WindowCenter = DSfloat((low + high) / 2)
        image.WindowWidth = DSfloat(high - low)
        image.WindowCenterWidthExplanation = "fixed, the same for every patient"
        image.VOILUTFunction = "LINEAR_EXACT"
        image.RescaleIntercept = DSfloat(0)
        image.RescaleSlope = DSfloat(step)
        image.RescaleType = "US"
        image.RealWorldValueMappingSequence = [_real_world(made, stored[valid], step)]
        image.SamplesPerPixel = 1
        image.PhotometricInterpretation = "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
        image.PixelRepresentation = 1
        image.add_new("PixelPaddingValue", "SS", padding)
        image.add_new("PixelData", "OW", stored[k].astype("<i2").tobytes())
        yield make_file_ready(image)


def quantise(values: NDArray[np.float64], valid: NDArray[np.bool_]) -> tuple[NDArray[np.int16], int, float]:
    """Whole numbers of 16 bit, the number that means no reading, and the step.

    Parameters
    ----------
    values : ndarray
    valid : ndarray of bool, same shape
        Values that count.

    Raises
    ------
    InputError
        If a value that counts is not finite or too large for the coarsest step.
    """
    readings = values[valid]
    if not np.isfinite(readings).all():
        raise InputError("the map holds readings that are not finite; they cannot be written as DICOM")
    largest = float(np.abs(readings).max(initial=0.0))
    step = next((step for step in STEPS if largest / step < _LARGEST), None)
    if step is None:
        raise InputError(
            f"the map reaches {largest:g}, and 16 bit hold {_LARGEST * STEPS[-1]:g} at most; is it nrCBV at all?"
        )
    stored = np.zeros(values.shape, dtype=np.int16)
    stored[valid] = np.rint(readings / step).astype(np.int16)
    padding = int(min(stored.min(), 0)) - 1
    stored[~valid] = padding
    return stored, padding, step


def _add_sequence(image: Dataset, header: Dataset) -> None:
    """How the source was acquired; type 1 and 2 attributes are there even where the source lacks them."""
    copy_elements(header, image, _SEQUENCE)
    image.ScanningSequence = header.get("ScanningSequence") or ["EP", "GR"]
    image.SequenceVariant = header.get("SequenceVariant") or "NONE"
    image.ScanOptions = header.get("ScanOptions") or ""
    image.MRAcquisitionType = header.get("MRAcquisitionType") or ""
    for keyword in ("EchoTime", "EchoTrainLength", "RepetitionTime", "SliceThickness"):
        if keyword not in image:
            setattr(image, keyword, None)


def _real_world(made: DerivedMap, readings: NDArray[np.int16], step: float) -> Dataset:
    item = Dataset()
    item.add_new("RealWorldValueFirstValueMapped", "SS", int(readings.min(initial=0)))
    item.add_new("RealWorldValueLastValueMapped", "SS", int(readings.max(initial=0)))
    item.RealWorldValueIntercept = 0.0
    item.RealWorldValueSlope = step
    item.LUTExplanation = "stored value to quantity"
    item.LUTLabel = made.folder.upper().replace("-", "_")[:16]
    item.MeasurementUnitsCodeSequence = [unit_item(made.volume.quantity)]
    item.QuantityDefinitionSequence = quantity_items(made.volume.quantity)
    return item
