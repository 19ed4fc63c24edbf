"""A map as a Parametric Map: floats with the right meaning, for archives that know it. Needs highdicom."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from perfmap.errors import ConfigError
from perfmap.io.dicom_out_codes import quantity_items, unit_item, window_of
from perfmap.io.dicom_out_flat import source_headers
from perfmap.io.dicom_out_grid import sample_on_slices
from perfmap.io.dicom_out_header import (
    DerivedMap,
    base_header,
    deterministic_uid,
    make_file_ready,
    place_slice,
    referenced_series,
    series_number,
    series_uid,
    source_reference,
)
from perfmap.io.dicom_source import DicomSource

_OF_ONE_SLICE = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "InstanceNumber",
    "SourceImageSequence",
    "Rows",
    "Columns",
    "ReferencedSeriesSequence",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "DerivationDescription",
    "DerivationCodeSequence",
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionNumber",
]
_BELOW_READINGS = 0.001


def can_write_pm() -> bool:
    """Whether highdicom is installed."""
    return importlib.util.find_spec("highdicom") is not None


def pm_object(source: DicomSource, made: DerivedMap) -> Dataset:
    """One Parametric Map object with a frame a slice.

    A voxel without a reading holds FloatPixelPaddingValue, which lies below every reading and close to 0.
    Frames may stand in another order than the source's slices: match them by ImagePositionPatient.

    Parameters
    ----------
    source : DicomSource
    made : DerivedMap

    Raises
    ------
    ConfigError
        If highdicom is not installed.
    InputError
        If map and source do not share their grid.
    """
    if not can_write_pm():
        raise ConfigError("form pm needs highdicom; pip install 'perfmap[dicom]', or leave pm out")
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from highdicom.sr import CodedConcept

    low, high = window_of(made.volume.quantity)
    values = sample_on_slices(made.volume, source).astype(np.float32)
    valid = sample_on_slices(made.valid_volume, source).astype(bool)
    readings = values[valid]
    lowest = np.float32(min(readings.min(initial=0.0), 0.0))
    values[~valid] = padding = np.float32(lowest - _BELOW_READINGS)
    headers = source_headers(source)
    stand_ins = [_stand_in(source, header, made, k) for k, header in enumerate(headers)]
    object_uid = stand_ins[0].SOPInstanceUID
    unit = unit_item(made.volume.quantity)
    mapping = RealWorldValueMapping(
        lut_label=made.folder.upper().replace("-", "_")[:16],
        lut_explanation="values are the quantity itself",
        unit=CodedConcept(unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning),
        value_range=(float(lowest), float(readings.max(initial=0.0))),
        slope=1.0,
        intercept=0.0,
    )
    mapping.add_new("QuantityDefinitionSequence", "SQ", quantity_items(made.volume.quantity))
    image: Any = ParametricMap(
        stand_ins,
        values,
        series_instance_uid=series_uid(source, made, "pm"),
        series_number=series_number(headers[0], "pm", made),
        sop_instance_uid=object_uid,
        instance_number=1,
        manufacturer=stand_ins[0].Manufacturer,
        manufacturer_model_name=stand_ins[0].ManufacturerModelName,
        software_versions=stand_ins[0].SoftwareVersions,
        device_serial_number=stand_ins[0].DeviceSerialNumber,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[
            VOILUTTransformation(
                window_center=(low + high) / 2,
                window_width=high - low,
                window_explanation="fixed, the same for every patient",
                voi_lut_function="LINEAR_EXACT",
            )
        ],
        content_description="research use only, not for diagnosis",
        content_label=made.volume.quantity.upper(),
        content_qualification="RESEARCH",
        derived_pixel_contrast="QUANTITY",
        image_flavor="VOLUME",
    )
    _finish(image, stand_ins[0], source, headers[0], padding=float(padding))
    return make_file_ready(image)


def _stand_in(source: DicomSource, header: Dataset, made: DerivedMap, k: int) -> Dataset:
    """A classic image in the place of the source slice: highdicom takes one kind of source, perfmap three."""
    image = base_header(source, header, made, "pm", k=k, number=0)
    image.SOPClassUID = MRImageStorage
    image.SeriesInstanceUID = header.SeriesInstanceUID
    place_slice(image, source, k)
    image.SliceThickness = header.get("SliceThickness") or header.get("SpacingBetweenSlices") or 1.0
    return image


def _finish(image: Dataset, common: Dataset, source: DicomSource, header: Dataset, *, padding: float) -> None:
    """Put in what highdicom leaves out, and the true source images; take out the time of day and drawn UIDs."""
    slices = range(len(source.slices))
    positions = np.array([piece.position for piece in source.slices])
    for frame in image.PerFrameFunctionalGroupsSequence:
        here = np.asarray(frame.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        k = int(np.linalg.norm(positions - here, axis=1).argmin())
        derivation = Dataset()
        derivation.DerivationDescription = common.DerivationDescription
        derivation.DerivationCodeSequence = common.DerivationCodeSequence
        derivation.SourceImageSequence = [source_reference(source, k)]
        derivation.SourceImageSequence[0].SpatialLocationsPreserved = "YES"
        frame.DerivationImageSequence = [derivation]
    library = image.ContributingEquipmentSequence[-1]  # highdicom names itself
    del library.ContributionDateTime
    for element in common:
        if element.keyword not in _OF_ONE_SLICE:
            image.add(element)
    image.ContributingEquipmentSequence.append(library)
    image.ReferencedSeriesSequence = [referenced_series(header, source, slices)]
    image.SourceImageSequence = [source_reference(source, k) for k in slices]
    drawn_anew = deterministic_uid(image.SeriesInstanceUID, "dimensions")
    for item in (*image.DimensionOrganizationSequence, *image.DimensionIndexSequence):
        item.DimensionOrganizationUID = drawn_anew
    image.add_new("FloatPixelPaddingValue", "FL", padding)
    image.add_new("FloatPixelPaddingRangeLimit", "FL", padding)
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        if keyword in image:
            delattr(image, keyword)
