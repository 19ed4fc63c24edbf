"""A map as RGB secondary captures: what people look at in an archive that knows no derived objects."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from perfmap.errors import InputError
from perfmap.io.dicom_out_flat import source_headers
from perfmap.io.dicom_out_header import (
    DerivedMap,
    base_header,
    decimal_strings,
    make_file_ready,
    patient_orientation,
    place_slice,
    series_number,
)
from perfmap.io.dicom_source import DicomSource


def sc_series(
    source: DicomSource, made: DerivedMap, frames: NDArray[np.uint8], *, enlarged: int
) -> Iterator[Dataset]:
    """Objects of the series, one a slice, in the order of the source's slices.

    Parameters
    ----------
    source : DicomSource
    made : DerivedMap
    frames : ndarray, uint8, shape (slices, height, width, 3)
        Pictures whose upper left part is the slice, each pixel `enlarged` times as high and as wide; what lies
        to the right and below is colour bar and text. Position and spacing are written so that the slice lies
        where the source's does.
    enlarged : int

    Raises
    ------
    InputError
        If the pictures do not fit the source.
    """
    if len(frames) != len(source.slices) or frames.shape[1] < source.rows * enlarged:
        raise InputError(
            f"{len(frames)} pictures of {frames.shape[1:3]} pixels for {len(source.slices)} slices of "
            f"{(source.rows, source.columns)}; draw one for each slice"
        )
    headers = source_headers(source)
    number = series_number(headers[0], "sc", made)
    spacing = np.asarray(source.pixel_spacing) / enlarged
    along_row, along_column = np.reshape(source.orientation, (2, 3))
    # The first small pixel lies towards the corner of the first large one.
    shift = (along_row * spacing[1] + along_column * spacing[0]) * (1 - enlarged) / 2
    for k, header in enumerate(headers):
        image = base_header(source, header, made, "sc", k=k, number=number)
        image.SOPClassUID = SecondaryCaptureImageStorage
        image.ConversionType = "WSD"
        image.ImageType = ["DERIVED", "SECONDARY", "PERFUSION", "RCBV"]
        position = np.asarray(source.slices[k].position) + shift
        place_slice(image, source, k)
        image.PatientOrientation = list(patient_orientation(source))
        image.ImagePositionPatient = decimal_strings(position)
        image.PixelSpacing = decimal_strings(spacing)
        image.SamplesPerPixel = 3
        image.PhotometricInterpretation = "RGB"
        image.PlanarConfiguration = 0
        image.Rows, image.Columns = frames.shape[1:3]
        image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
        image.PixelRepresentation = 0
        pixels = frames[k].tobytes()
        image.add_new("PixelData", "OB", pixels + b"\0" * (len(pixels) % 2))
        yield make_file_ready(image)
